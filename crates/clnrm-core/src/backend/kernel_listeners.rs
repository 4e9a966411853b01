//! Who listens on a port of this machine, asked of the kernel itself.
//!
//! `/proc/net/tcp` says the same, but the kernel goes through the table of all connections for it: 6 ms for an empty one.
//! Deliberately absent: connections, which `metrics` counts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::socket_table::Listener;
use crate::netlink::{AF_INET, AF_INET6, Wanted, array_at, dump, u32_at};

const LISTENERS: Wanted = Wanted {
    states: 1 << 10,
    attributes: 0,
};

/// What listens on a port, at whatever address.
///
/// Errors: this kernel has no socket statistics, or they are forbidden here.
pub(super) fn listening(port: u16) -> io::Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    dump(&socket, LISTENERS, |message| listener(message, port))
}

fn listener(message: &[u8], wanted: u16) -> Option<Listener> {
    let port = u16::from_be_bytes(array_at(message, 4)?);
    let ip: IpAddr = match *message.first()? {
        AF_INET => Ipv4Addr::from(array_at::<4>(message, 8)?).into(),
        AF_INET6 => Ipv6Addr::from(array_at::<16>(message, 8)?).to_canonical(),
        _ => return None,
    };
    let inode = u32_at(message, 68)?.into();
    (port == wanted).then_some(Listener { ip, inode })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;
    use crate::backend::socket_table::listeners;

    #[test]
    fn the_kernel_says_what_its_tables_say() {
        for address in [
            "127.0.0.1:0",
            "0.0.0.0:0",
            "127.1.2.3:0",
            "[::1]:0",
            "[::]:0",
        ] {
            let Ok(own) = TcpListener::bind(address) else {
                continue;
            };
            let port = own.local_addr().unwrap().port();
            let table = |name: &str| fs::read_to_string(format!("/proc/net/{name}"));
            let tables = table("tcp").unwrap() + &table("tcp6").unwrap_or_default();
            let asked = listening(port).unwrap();
            assert_eq!(asked, listeners(&tables, port), "{address}");
            assert_eq!(asked.len(), 1, "{address}");
        }
    }

    proptest! {
        #[test]
        fn a_message_that_is_cut_off_is_none(length in 0_usize..72) {
            let mut message = [0; 72];
            message[0] = AF_INET;
            prop_assert!(listener(&message[..length], 0).is_none());
        }
    }
}
