//! Who listens, from the text of `/proc/net/tcp` and `/proc/net/tcp6`. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `LISTEN` in those tables.
const LISTEN: &str = "0A";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    /// Where; an IPv4 address that is written as one of IPv6 is IPv4.
    pub(super) ip: IpAddr,
    /// What `/proc/[pid]/fd` calls the socket.
    pub(super) inode: u64,
}

/// What listens on a port, at whatever address.
///
/// Lines are `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …`; an address is its words in
/// hexadecimal as this machine has them in memory, then a colon and the port.
pub(super) fn listeners(tables: &str, port: u16) -> Vec<Listener> {
    let lines = tables.lines();
    let found = lines.filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, hex) = fields.next()?.rsplit_once(':')?;
        let is_listener = fields.nth(1) == Some(LISTEN);
        if !is_listener || u16::from_str_radix(hex, 16) != Ok(port) {
            return None;
        }
        Some(Listener {
            ip: ip(address)?,
            inode: fields.nth(5)?.parse().ok()?,
        })
    });
    found.collect()
}

fn ip(hex: &str) -> Option<IpAddr> {
    let word = |from: usize| {
        let digits = hex.get(from..from + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            let octets: [u8; 16] = words.try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_addresses_of_own_sockets_are_read_as_they_are() {
        for address in [
            "127.0.0.1:0",
            "0.0.0.0:0",
            "127.1.2.3:0",
            "[::1]:0",
            "[::]:0",
        ] {
            let Ok(socket) = TcpListener::bind(address) else {
                // Without IPv6 there is nothing to read.
                continue;
            };
            let local = socket.local_addr().unwrap();
            let table = |name| std::fs::read_to_string(format!("/proc/self/net/{name}"));
            let tables = table("tcp").unwrap() + &table("tcp6").unwrap_or_default();
            let found = listeners(&tables, local.port());
            assert!(
                found.iter().any(|listener| listener.ip == local.ip()),
                "{address}: {found:?}"
            );
        }
    }

    #[test]
    fn a_connection_is_no_listener() {
        let table =
            "  0: 0200A8C0:1F90 0300A8C0:C350 01 00000000:00000000 00:00000000 00000000 0 0 7 1";
        assert_eq!(listeners(table, 8080), []);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}", port: u16) {
            listeners(&text, port);
        }

        #[test]
        fn any_address_is_survived(hex in "[0-9A-Fx]{0,40}") {
            ip(&hex);
        }
    }
}
