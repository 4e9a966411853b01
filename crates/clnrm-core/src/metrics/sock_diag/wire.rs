//! One TCP connection in the answers of `sock_diag(7)`. See linux/inet_diag.h and linux/tcp.h.

use crate::netlink::{Wanted, array_at, attribute, u64_at};

const INET_DIAG_INFO: u16 = 2;

const TCP_ESTABLISHED: u8 = 1;
/// Every state of a connection that carries data or has carried some: not SYN_SENT (2), TIME_WAIT (6), CLOSE (7),
/// LISTEN (10), NEW_SYN_RECV (12); with its `tcp_info`.
pub(super) const CONNECTIONS: Wanted = Wanted {
    states: 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11,
    attributes: 1 << (INET_DIAG_INFO - 1),
};

/// `struct inet_diag_msg`.
const DIAG_MESSAGE_BYTES: usize = 72;

/// One TCP connection, seen from this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpSocket {
    pub(super) established: bool,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    /// Unique among all sockets since boot.
    pub(super) cookie: u64,
    /// Acknowledged by the other end, plus received from it.
    pub(super) bytes: u64,
}

/// `None` for a socket without `tcp_info`: one in TIME_WAIT, whose bytes were announced before.
pub(super) fn connection(message: &[u8]) -> Option<TcpSocket> {
    let attributes = message.get(DIAG_MESSAGE_BYTES..)?;
    Some(TcpSocket {
        established: *message.get(1)? == TCP_ESTABLISHED,
        local_port: u16::from_be_bytes(array_at(message, 4)?),
        remote_port: u16::from_be_bytes(array_at(message, 6)?),
        cookie: u64_at(message, 44)?,
        bytes: transferred(attribute(attributes, INET_DIAG_INFO)?)?,
    })
}

/// `tcpi_bytes_acked` and `tcpi_bytes_received` of `struct tcp_info` (Linux 4.1 and later).
fn transferred(tcp_info: &[u8]) -> Option<u64> {
    Some(u64_at(tcp_info, 120)?.saturating_add(u64_at(tcp_info, 128)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A socket as the kernel writes it, with an attribute of another kind in front of `tcp_info`.
    fn message(local_port: u16, cookie: u64, acked: u64, received: u64) -> Vec<u8> {
        let mut tcp_info = vec![0; 240];
        tcp_info[120..128].copy_from_slice(&acked.to_ne_bytes());
        tcp_info[128..136].copy_from_slice(&received.to_ne_bytes());
        let mut message = vec![0; DIAG_MESSAGE_BYTES];
        message[1] = TCP_ESTABLISHED;
        message[4..6].copy_from_slice(&local_port.to_be_bytes());
        message[6..8].copy_from_slice(&4_000_u16.to_be_bytes());
        message[44..52].copy_from_slice(&cookie.to_ne_bytes());
        message.extend([5, 0, 8, 0, 0, 0, 0, 0]);
        message.extend(u16::try_from(4 + tcp_info.len()).unwrap().to_ne_bytes());
        message.extend(INET_DIAG_INFO.to_ne_bytes());
        message.extend(tcp_info);
        message
    }

    #[test]
    fn a_connection_is_read() {
        let expected = TcpSocket {
            established: true,
            local_port: 6_379,
            remote_port: 4_000,
            cookie: 7,
            bytes: 1_024,
        };
        assert_eq!(connection(&message(6_379, 7, 1_000, 24)), Some(expected));
    }

    #[test]
    fn a_socket_without_tcp_info_is_left_out() {
        assert_eq!(connection(&[0; DIAG_MESSAGE_BYTES]), None);
    }

    proptest! {
        #[test]
        fn a_message_that_is_cut_off_never_panics(length in 0_usize..400) {
            let message = message(1, 2, 3, 4);
            connection(&message[..length.min(message.len())]);
        }
    }
}
