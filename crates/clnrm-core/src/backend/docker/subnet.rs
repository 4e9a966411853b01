//! Small address ranges for networks of our own. Pure.
//!
//! Left to itself, an engine gives each network one of some 30 ranges of 65 536 addresses, and has none left for others
//! soon. Where it may, clnrm takes ranges of 256 from what the engine would hand out itself.

use std::net::Ipv4Addr;

/// Consecutive IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    first: u32,
    last: u32,
}

/// Of the ranges that Docker hands out, in this order: it begins at the other end. 172.31 is the default of a large
/// cloud's private networks, and 172.30 of a distribution of Kubernetes.
const SECOND_BYTES: std::ops::RangeInclusive<u32> = 18..=29;

impl Range {
    /// `172.29.4.0/24`; `None` = it is something else.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (Ipv4Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        Some(Self::of(address.into(), mask(bits)?))
    }

    fn of(address: u32, mask: u32) -> Self {
        Self {
            first: address & mask,
            last: address | !mask,
        }
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

fn mask(bits: u32) -> Option<u32> {
    u32::MAX.checked_shl(32_u32.checked_sub(bits)?).or(Some(0))
}

/// What this machine reaches through routes of its own, as `/proc/net/route` writes them.
pub(super) fn routes(table: &str) -> Vec<Range> {
    let route = |line: &str| {
        let mut columns = line.split_whitespace();
        let number = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::from_be);
        let destination = number(columns.nth(1))?;
        let mask = number(columns.nth(5))?;
        // The way to everything else says nothing of any range.
        (mask != 0).then(|| Range::of(destination, mask))
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// Free ranges, those first that follow from `seed`: commands that choose at the same time choose different ones.
pub(super) fn free(taken: &[Range], seed: u8) -> impl Iterator<Item = String> {
    let all = SECOND_BYTES.rev().flat_map(move |second| {
        (0..=u8::MAX).map(move |third| (second, u32::from(third.wrapping_add(seed))))
    });
    all.filter_map(move |(second, third)| {
        let first = (172 << 24) | (second << 16) | (third << 8);
        let range = Range::of(first, 0xffff_ff00);
        let is_free = !taken.iter().any(|taken| taken.overlaps(range));
        is_free.then(|| format!("{}/24", Ipv4Addr::from(first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<Range> {
        texts
            .iter()
            .map(|text| Range::read(text).unwrap())
            .collect()
    }

    #[test]
    fn what_is_taken_is_passed_over() {
        let first = |taken: &[&str], seed| free(&ranges(taken), seed).next();
        assert_eq!(first(&[], 7), Some("172.29.7.0/24".to_owned()));
        assert_eq!(
            first(&["172.29.7.0/25"], 7),
            Some("172.29.8.0/24".to_owned())
        );
        assert_eq!(
            first(&["172.29.255.0/24"], 255),
            Some("172.29.0.0/24".to_owned())
        );
        assert_eq!(
            first(&["172.29.0.0/16", "172.28.0.0/16"], 7),
            Some("172.27.7.0/24".to_owned())
        );
        assert_eq!(first(&["172.16.0.0/12"], 7), None);
        assert_eq!(first(&["0.0.0.0/0"], 7), None);
    }

    #[test]
    fn there_is_room_for_many_projects() {
        let mut all: Vec<String> = free(&[], 200).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12 * 256);
    }

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     tun0\t00001DAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                     broken\n";
        let expected = if cfg!(target_endian = "little") {
            ranges(&["172.29.0.0/16"])
        } else {
            Vec::new()
        };
        assert_eq!(routes(table), expected);
    }

    #[test]
    fn what_is_no_range_is_not_read() {
        for text in ["", "172.29.0.0", "172.29.0.0/33", "fd00::/64", "a/b"] {
            assert_eq!(Range::read(text), None, "{text}");
        }
    }
}
