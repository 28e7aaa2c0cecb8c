//! A cache in a bucket of an S3 service. Every entry and every layer is an object of its own, so nothing is ever replaced.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use reqwest::Url;
use reqwest::blocking::{Body, Response};

use super::entry::MAX_ENTRY_SIZE;
use super::http::{self, Web, shown};
pub use super::signature::Credentials;
use super::signature::{Unsigned, authorization, escaped};
use super::{Backend, CacheError, Entry, Open};
use crate::digest::Digest;
use crate::oci::{Descriptor, digest_of};
use crate::text::parse_bool;

/// What the service takes in one request.
const MAX_UPLOAD: u64 = 5 << 30;

/// Where a bucket is, and what its objects are called.
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// Its region; signed.
    pub region: String,
    /// The service where it is not AWS's own.
    pub endpoint: Option<Url>,
    /// The bucket is in the path and not in the host's name.
    pub use_path_style: bool,
    /// Before the name of every object.
    pub prefix: String,
    /// Before a layer's digest.
    pub blobs_prefix: String,
    /// Before a cache's name.
    pub manifests_prefix: String,
    /// The caches of the bucket that are filled; all of them are read. Non-empty.
    pub names: Vec<String>,
    /// What requests are signed with; nobody in particular asks where absent.
    pub credentials: Option<Credentials>,
}

impl S3Settings {
    /// Reads the options of a cache; what is not among them comes from `env`, credentials also from `profile`.
    ///
    /// # Errors
    /// Something that is needed is nowhere.
    pub fn new(
        options: &BTreeMap<String, String>,
        env: &dyn Fn(&str) -> Option<String>,
        profile: impl FnOnce() -> Option<Credentials>,
    ) -> Result<S3Settings, String> {
        let option = |key: &str| options.get(key).filter(|value| !value.is_empty()).cloned();
        let needed = |key: &str, variable: &str| {
            option(key)
                .or_else(|| env(variable))
                .ok_or_else(|| format!("a cache of type `s3` needs `{key}` (${variable})"))
        };
        let endpoint = option("endpoint_url").map(|text| Url::parse(&text)).transpose();
        let endpoint = endpoint.map_err(|error| format!("`endpoint_url` is no URL: {error}"))?;
        if endpoint.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https") || url.host().is_none()) {
            return Err("`endpoint_url` begins with https:// or http://".to_owned());
        }
        let pair = |id: Option<String>, secret: Option<String>, session_token| {
            Some(Credentials { access_key_id: id?, secret_access_key: secret?, session_token })
        };
        let given = pair(option("access_key_id"), option("secret_access_key"), option("session_token"));
        let of_env = || pair(env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN"));
        let names = option("name").unwrap_or_else(|| "buildkit".to_owned());
        Ok(S3Settings {
            bucket: needed("bucket", "AWS_BUCKET")?,
            region: needed("region", "AWS_REGION")?,
            endpoint,
            use_path_style: option("use_path_style").and_then(|text| parse_bool(&text)) == Some(true),
            prefix: option("prefix").unwrap_or_default(),
            blobs_prefix: option("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned()),
            manifests_prefix: option("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned()),
            names: names.split(';').map(str::to_owned).collect(),
            credentials: given.or_else(of_env).or_else(profile),
        })
    }

    /// Returns the URL of an object. Its path is escaped as it is signed.
    fn url(&self, object: &str) -> Result<Url, CacheError> {
        let bucket = &self.bucket;
        let amazon = || Url::parse(&format!("https://s3.{}.amazonaws.com/", self.region));
        let wrong =
            |error: &dyn std::fmt::Display| CacheError::Malformed(format!("the bucket {bucket} has no URL: {error}"));
        let mut url = self.endpoint.clone().map_or_else(amazon, Ok).map_err(|error| wrong(&error))?;
        let base = url.path().trim_end_matches('/').to_owned();
        let path = match self.use_path_style {
            true => format!("/{bucket}/{object}"),
            false => {
                let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
                url.set_host(Some(&host)).map_err(|error| wrong(&error))?;
                format!("/{object}")
            }
        };
        url.set_path(&format!("{base}{}", escaped(&path)));
        Ok(url)
    }
}

/// Returns the credentials of a profile in the text of a credentials file.
pub fn profile_credentials(text: &str, profile: &str) -> Option<Credentials> {
    let mut section = "";
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| section == profile && !line.starts_with('#'))
        {
            values.insert(key.trim(), value.trim());
        }
    }
    let value = |key: &str| values.get(key).map(|value| (*value).to_owned());
    Some(Credentials {
        access_key_id: value("aws_access_key_id")?,
        secret_access_key: value("aws_secret_access_key")?,
        session_token: value("aws_session_token"),
    })
}

/// A cache in a bucket.
pub struct S3Cache<'a> {
    settings: S3Settings,
    web: Web,
    /// Since 1970; signatures name the time.
    clock: Box<dyn Fn() -> Duration + Send + Sync + 'a>,
}

/// What a request sends.
struct Payload<'a> {
    digest: Digest,
    size: u64,
    open: &'a Open<'a>,
}

impl<'a> S3Cache<'a> {
    /// The cache that `settings` say; `clock` is the time since 1970.
    pub fn new(settings: S3Settings, web: Web, clock: Box<dyn Fn() -> Duration + Send + Sync + 'a>) -> S3Cache<'a> {
        S3Cache { settings, web, clock }
    }

    fn blob(&self, digest: &Digest) -> String {
        format!("{}{}{digest}", self.settings.prefix, self.settings.blobs_prefix)
    }

    fn entry_object(&self, name: &str, key: &Digest) -> String {
        format!("{}{}{name}/bake/{}", self.settings.prefix, self.settings.manifests_prefix, key.hex())
    }

    fn time(&self) -> String {
        let seconds = i64::try_from((self.clock)().as_secs()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        time.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// Sends a request; returns its name with the answer, whatever that is.
    fn send(
        &self,
        method: &'static str,
        object: &str,
        payload: Option<&Payload<'_>>,
    ) -> Result<(String, Response), CacheError> {
        let url = self.settings.url(object)?;
        let what = shown(method, &url);
        let digest = payload.map_or_else(|| Digest::of(b""), |payload| payload.digest);
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        let host = format!("{}{port}", url.host_str().unwrap_or_default());
        let response = self.web.send(&what, &|client| {
            let verb = match method {
                "PUT" => reqwest::Method::PUT,
                "HEAD" => reqwest::Method::HEAD,
                _ => reqwest::Method::GET,
            };
            let mut request = client.request(verb, url.clone());
            if let Some(credentials) = &self.settings.credentials {
                let time = self.time();
                let mut headers =
                    vec![("host", host.clone()), ("x-amz-content-sha256", digest.hex()), ("x-amz-date", time.clone())];
                headers.extend(credentials.session_token.clone().map(|token| ("x-amz-security-token", token)));
                let (path, region) = (url.path(), &self.settings.region);
                let unsigned = Unsigned { method, path, headers: &headers, payload: digest, region, time: &time };
                let authorization = authorization(&unsigned, credentials);
                request = request.header("authorization", authorization);
                for (name, value) in headers.into_iter().skip(1) {
                    request = request.header(name, value);
                }
            }
            let Some(payload) = payload else { return Ok(request) };
            let failed = |source| CacheError::Io { what: "read a layer".to_owned(), source };
            let body = Body::sized((payload.open)().map_err(failed)?, payload.size);
            Ok(request.body(body).timeout(http::upload_time(payload.size)))
        })?;
        Ok((what, response))
    }

    fn put(&self, object: &str, payload: &Payload<'_>) -> Result<(), CacheError> {
        let (what, response) = self.send("PUT", object, Some(payload))?;
        if response.status().is_success() { Ok(()) } else { Err(http::refusal(&what, response)) }
    }

    fn entry_of(&self, name: &str, key: &Digest) -> Result<Option<Entry>, CacheError> {
        let (what, response) = self.send("GET", &self.entry_object(name, key), None)?;
        match response.status().as_u16() {
            404 => Ok(None),
            200 => {
                let entry = Entry::parse(&http::body(&what, response, MAX_ENTRY_SIZE)?, key);
                entry.map(Some).ok_or_else(|| CacheError::Malformed(format!("{what} answered what is no entry")))
            }
            _ => Err(http::refusal(&what, response)),
        }
    }
}

impl Backend for S3Cache<'_> {
    fn name(&self) -> String {
        format!("s3 {}/{}{}", self.settings.bucket, self.settings.prefix, self.settings.names.join(";"))
    }

    fn entry(&self, key: &Digest) -> Result<Option<Entry>, CacheError> {
        for name in &self.settings.names {
            if let Some(entry) = self.entry_of(name, key)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn fetch(&self, layer: &Descriptor, out: &mut dyn Write) -> Result<(), CacheError> {
        let digest = digest_of(layer).map_err(|error| CacheError::Malformed(error.to_string()))?;
        let (what, response) = self.send("GET", &self.blob(&digest), None)?;
        match response.status().is_success() {
            true => http::copy(&what, response, layer.size(), out),
            false => Err(http::refusal(&what, response)),
        }
    }

    fn put_layer(&self, layer: &Descriptor, open: &Open<'_>) -> Result<(), CacheError> {
        let digest = digest_of(layer).map_err(|error| CacheError::Malformed(error.to_string()))?;
        let object = self.blob(&digest);
        let (_, response) = self.send("HEAD", &object, None)?;
        let size = response.headers().get("content-length").and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
        if response.status().is_success() && size == Some(layer.size()) {
            return Ok(());
        }
        if layer.size() > MAX_UPLOAD {
            return Err(CacheError::Malformed(format!(
                "layer {digest} is larger than the 5 GiB that one request may send"
            )));
        }
        self.put(&object, &Payload { digest, size: layer.size(), open })
    }

    fn put_entry(&self, entry: &Entry) -> Result<(), CacheError> {
        let bytes = entry.to_bytes();
        for name in &self.settings.names {
            // One that is there is as good; a damaged one is replaced.
            if !matches!(self.entry_of(name, &entry.key), Ok(Some(_))) {
                let open = || -> std::io::Result<Box<dyn std::io::Read + Send>> {
                    Ok(Box::new(std::io::Cursor::new(bytes.clone())))
                };
                let payload = Payload { digest: Digest::of(&bytes), size: bytes.len() as u64, open: &open };
                self.put(&self.entry_object(name, &entry.key), &payload)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<S3Settings, String> {
        let options = text.split(' ').filter_map(|pair| pair.split_once('='));
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        S3Settings::new(&options, &|name| (name == "AWS_REGION").then(|| "eu-north-1".to_owned()), || None)
    }

    #[test]
    fn objects_are_where_the_options_say() {
        let cases = [
            ("bucket=b", "https://b.s3.eu-north-1.amazonaws.com/x/sha256%3Ay"),
            ("bucket=b region=r use_path_style=true", "https://s3.r.amazonaws.com/b/x/sha256%3Ay"),
            ("bucket=b endpoint_url=http://store:9000 use_path_style=1", "http://store:9000/b/x/sha256%3Ay"),
            ("bucket=b endpoint_url=https://store.example/s3/", "https://b.store.example/s3/x/sha256%3Ay"),
        ];
        for (text, url) in cases {
            let settings = settings(text).expect(text);
            assert_eq!(settings.url("x/sha256:y").expect(text).as_str(), url);
        }
        assert!(settings("region=r").is_err_and(|error| error.contains("AWS_BUCKET")));
        assert!(settings("bucket=b endpoint_url=ftp://x").is_err());
    }

    #[test]
    fn a_profile_is_read() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B\n\n[ci]\n# no\naws_access_key_id=C\naws_secret_access_key=D=\naws_session_token=E\n";
        let ci = profile_credentials(text, "ci").expect("a profile");
        assert_eq!(
            (ci.access_key_id.as_str(), ci.secret_access_key.as_str(), ci.session_token.as_deref()),
            ("C", "D=", Some("E"))
        );
        assert_eq!(profile_credentials(text, "default").map(|c| c.session_token), Some(None));
        assert!(profile_credentials(text, "other").is_none());
    }
}
