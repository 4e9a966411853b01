//! Who listens on a port of this machine, asked of the kernel itself.
//!
//! `/proc/net/tcp` says the same, but the kernel goes through the table of all connections for it: 6 ms for an empty one.
//! Deliberately absent: connections, which `metrics` counts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::socket_table::Listener;

/// linux/socket.h
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
const HEADER_BYTES: usize = 16;
/// linux/sock_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `inet_diag_req_v2` and `inet_diag_msg` of linux/inet_diag.h.
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
const LISTEN_ONLY: u32 = 1 << 10;
/// The kernel fills at most 32 KiB per message of a dump.
const MESSAGE_BYTES: usize = 64 << 10;

/// What listens on a port, at whatever address.
///
/// Errors: this kernel has no socket statistics, or they are forbidden here.
pub(super) fn listening(port: u16) -> io::Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(MESSAGE_BYTES);
    for family in [AF_INET, AF_INET6] {
        socket.send_to(&request(family), &SocketAddr::new(0, 0), 0)?;
        let mut is_done = false;
        while !is_done {
            buffer.clear();
            socket.recv(&mut buffer, 0)?;
            is_done = read(&buffer, port, &mut found)?;
        }
    }
    Ok(found)
}

fn request(family: u8) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    let mut put = |at: usize, value: &[u8]| {
        bytes
            .iter_mut()
            .skip(at)
            .zip(value)
            .for_each(|(byte, value)| *byte = *value);
    };
    put(0, &(REQUEST_BYTES as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST_DUMP.to_ne_bytes());
    put(HEADER_BYTES, &[family, IPPROTO_TCP]);
    put(HEADER_BYTES + 4, &LISTEN_ONLY.to_ne_bytes());
    bytes
}

/// Takes the listeners of one datagram; whether it was the last one.
fn read(mut datagram: &[u8], port: u16, found: &mut Vec<Listener>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (array(datagram, 0), array(datagram, 4)) {
        let length = u32::from_ne_bytes(length) as usize;
        let Some(payload) = datagram.get(HEADER_BYTES..length) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match u16::from_ne_bytes(kind) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = array(payload, 0).map_or(0, i32::from_ne_bytes);
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => found.extend(listener(payload, port)),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

fn listener(message: &[u8], wanted: u16) -> Option<Listener> {
    let port = u16::from_be_bytes(array(message, 4)?);
    let ip: IpAddr = match *message.first()? {
        AF_INET => Ipv4Addr::from(array::<4>(message, 8)?).into(),
        AF_INET6 => Ipv6Addr::from(array::<16>(message, 8)?).to_canonical(),
        _ => return None,
    };
    let inode = u32::from_ne_bytes(array(message, 68)?).into();
    (port == wanted).then_some(Listener { ip, inode })
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..start + N)?.try_into().ok()
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
        fn reading_never_panics_and_ends(bytes: Vec<u8>) {
            let _ = read(&bytes, 80, &mut Vec::new());
        }

        #[test]
        fn a_message_that_is_cut_off_is_none(length in 0_usize..72) {
            let mut message = [0; 72];
            message[0] = AF_INET;
            prop_assert!(listener(&message[..length], 0).is_none());
        }
    }
}
