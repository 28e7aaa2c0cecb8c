//! Functions of IP address ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Parameter::{Number as N, Text};
use super::{Function, World, fixed, text_at, variadic, whole_at};
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    fixed("cidrhost", &[Text, N], cidrhost),
    fixed("cidrnetmask", &[Text], |_, v| {
        let prefix = Prefix::parse(text_at(v, 0))?;
        Ok(Value::string(prefix.address(prefix.mask())))
    }),
    fixed("cidrsubnet", &[Text, N, N], |_, v| {
        let subnet = Prefix::parse(text_at(v, 0))?.subnet(whole_at(v, 1)?, whole_at(v, 2)?)?;
        Ok(Value::string(subnet.text()))
    }),
    variadic("cidrsubnets", &[Text], N, cidrsubnets),
];

/// The most bits that a prefix may grow by, as in the peer.
const MAX_BITS: i64 = 32;

#[derive(Clone, Copy)]
struct Prefix {
    bits: u128,
    length: u32,
    /// 32 or 128.
    width: u32,
}

impl Prefix {
    fn parse(text: &str) -> Result<Prefix, String> {
        let invalid = || format!("\"{text}\" is no address range such as 10.0.0.0/8");
        let (address, length) = text.split_once('/').ok_or_else(invalid)?;
        let (bits, width) = match address.parse::<IpAddr>().map_err(|_| invalid())? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let length = length.parse::<u32>().ok().filter(|length| *length <= width).ok_or_else(invalid)?;
        let prefix = Prefix { bits, length, width };
        Ok(Prefix { bits: bits & prefix.mask(), ..prefix })
    }

    fn mask(&self) -> u128 {
        let all = if self.width == 128 { u128::MAX } else { u128::from(u32::MAX) };
        all & !self.host_mask()
    }

    fn host_mask(&self) -> u128 {
        let n_host = self.width - self.length;
        if n_host == 128 { u128::MAX } else { (1u128 << n_host) - 1 }
    }

    fn address(&self, bits: u128) -> String {
        match self.width {
            32 => Ipv4Addr::from_bits(bits as u32).to_string(),
            _ => Ipv6Addr::from_bits(bits).to_string(),
        }
    }

    fn text(&self) -> String {
        format!("{}/{}", self.address(self.bits), self.length)
    }

    fn subnet(&self, n_bits: i64, number: i64) -> Result<Prefix, String> {
        let refused = || format!("{} has too few bits left for {n_bits} more", self.text());
        if n_bits > MAX_BITS {
            return Err(refused());
        }
        // The peer takes fewer bits too, which makes the range larger.
        let length = i64::from(self.length).checked_add(n_bits).and_then(|length| u32::try_from(length).ok());
        let length = length.filter(|length| *length <= self.width).ok_or_else(refused)?;
        if n_bits < 0 {
            return Ok(Prefix { length, ..*self });
        }
        let n_bits = n_bits as u32;
        let number = u128::try_from(number).ok().filter(|n| *n < 1 << n_bits);
        let number = number.ok_or_else(|| format!("{n_bits} bits cannot hold that number"))?;
        let bits = self.bits | number.checked_shl(self.width - length).unwrap_or(0);
        Ok(Prefix { bits, length, width: self.width })
    }
}

fn cidrhost(_: &World, v: &[Value]) -> Result<Value, String> {
    let (prefix, number) = (Prefix::parse(text_at(v, 0))?, whole_at(v, 1)?);
    let magnitude = u128::from(number.unsigned_abs());
    let host = if number < 0 { prefix.host_mask().checked_sub(magnitude - 1) } else { Some(magnitude) };
    let host = host.filter(|host| *host <= prefix.host_mask());
    let host = host.ok_or_else(|| format!("{} has no host number {number}", prefix.text()))?;
    Ok(Value::string(prefix.address(prefix.bits | host)))
}

fn cidrsubnets(_: &World, v: &[Value]) -> Result<Value, String> {
    let prefix = Prefix::parse(text_at(v, 0))?;
    let (mut next, mut subnets) = (prefix.bits, Vec::new());
    for i in 1..v.len() {
        let n_bits = whole_at(v, i)?;
        if n_bits < 1 {
            return Err("a part has at least one bit more".into());
        }
        let first = prefix.subnet(n_bits, 0)?;
        let no_room = || format!("{} has no room for that many ranges", prefix.text());
        let size = first.host_mask().checked_add(1).ok_or_else(no_room)?;
        let start = next.div_ceil(size).checked_mul(size).ok_or_else(no_room)?;
        if start & prefix.mask() != prefix.bits || (prefix.width == 32 && start > u128::from(u32::MAX)) {
            return Err(no_room());
        }
        subnets.push(Value::string(Prefix { bits: start, ..first }.text()));
        next = start.checked_add(size).ok_or_else(no_room)?;
    }
    Ok(Value::list(subnets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut() {
        let subnet =
            |text: &str, bits, number| Prefix::parse(text).and_then(|p| p.subnet(bits, number)).map(|p| p.text());
        assert_eq!(subnet("10.0.0.0/8", 8, 2).as_deref(), Ok("10.2.0.0/16"));
        assert_eq!(subnet("fd00::/8", 8, 1).as_deref(), Ok("fd01::/16"));
        assert!(subnet("10.0.0.0/30", 8, 0).is_err() && subnet("10.0.0.0", 1, 0).is_err());
        let host = |text: &str, n: i64| cidrhost(&World::default(), &[Value::string(text), Value::Number(n.into())]);
        assert_eq!(host("10.1.0.0/16", -2), Ok(Value::string("10.1.255.254")));
        assert_eq!(host("::/0", 1), Ok(Value::string("::1")));
    }
}
