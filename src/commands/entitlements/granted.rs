//! `--allow`.

use std::collections::BTreeSet;

/// What the user grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// `network.host`
    pub network_host: bool,
    /// `security.insecure`
    pub security_insecure: bool,
    /// `ssh`: the agent of the environment.
    pub ssh: bool,
    /// `buildx.local.delete`: an output directory may lose what the build did not make.
    pub local_delete: bool,
    /// `device`: every device.
    pub all_devices: bool,
    /// `device=NAME`
    pub devices: BTreeSet<String>,
    /// `fs.read=PATH`; `*` for all.
    pub read: Vec<String>,
    /// `fs.write=PATH`; `*` for all.
    pub write: Vec<String>,
}

impl Granted {
    /// Reads the values of `--allow`.
    ///
    /// # Errors
    /// One grants nothing that there is.
    pub fn parse(values: &[String]) -> Result<Granted, String> {
        let mut granted = Granted::default();
        for text in values {
            let (key, value) = text.split_once('=').map_or((text.as_str(), None), |(key, value)| (key, Some(value)));
            let path = value.unwrap_or("").to_owned();
            match (key, value) {
                ("network.host", None) => granted.network_host = true,
                ("security.insecure", None) => granted.security_insecure = true,
                ("ssh", None) => granted.ssh = true,
                ("buildx.local.delete", None) => granted.local_delete = true,
                ("device", None | Some("")) => granted.all_devices = true,
                ("device", Some(device)) => _ = granted.devices.insert(device_name(device).to_owned()),
                ("fs.read", _) => granted.read.push(path),
                ("fs.write", _) => granted.write.push(path),
                ("fs", _) => {
                    granted.read.push(path.clone());
                    granted.write.push(path);
                }
                // Of the peer's; nothing asks for them.
                ("image" | "image.push" | "image.load", _) => {}
                ("network.host" | "security.insecure" | "ssh" | "buildx.local.delete", Some(_)) => {
                    return Err(format!("--allow {key} takes no value"));
                }
                _ => return Err(format!("--allow {text}: there is no such right")),
            }
        }
        Ok(granted)
    }

    /// Says whether the device, as a target names it, may be used.
    pub fn has_device(&self, device: &str) -> bool {
        self.all_devices || self.devices.contains(device_name(device))
    }
}

/// Returns a device's name without its options.
pub(super) fn device_name(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_and_unknown_ones_refused() {
        let parse = |values: &[&str]| Granted::parse(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        let granted =
            parse(&["network.host", "fs=/a", "fs.read=*", "device=x.com/y=z,optional", "ssh"]).expect("right");
        assert_eq!((granted.read, granted.write), (vec!["/a".to_owned(), "*".to_owned()], vec!["/a".to_owned()]));
        assert!(granted.network_host && granted.ssh && !granted.security_insecure);
        assert!(granted.devices.contains("x.com/y=z"));
        for wrong in ["network", "ssh=x", "buildx.local.delete=1", "fs.exec=/a", ""] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
    }
}
