//! The bytes of `sock_diag(7)`: one request, and the answers to it. See linux/inet_diag.h and linux/tcp.h.

/// `AF_INET` of socket(2).
pub(super) const AF_INET: u8 = 2;
/// `AF_INET6` of socket(2).
pub(super) const AF_INET6: u8 = 10;

const IPPROTO_TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x001 | 0x300;
const INET_DIAG_INFO: u16 = 2;

const TCP_ESTABLISHED: u8 = 1;
/// Every state of a connection that carries data or has carried some: not SYN_SENT (2), TIME_WAIT (6), CLOSE (7),
/// LISTEN (10), NEW_SYN_RECV (12). Bit n stands for state n.
const STATES: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

const NETLINK_HEADER_BYTES: usize = 16;
/// `struct inet_diag_msg`.
const DIAG_MESSAGE_BYTES: usize = 72;
/// `struct inet_diag_req_v2` behind its header.
const REQUEST_BYTES: usize = NETLINK_HEADER_BYTES + 56;

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

/// One netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Socket(TcpSocket),
    /// The dump is complete.
    Done,
    /// An error number.
    Error(i32),
}

/// Asks for all TCP connections of one address family, with their `tcp_info`.
pub(super) fn dump_request(family: u8) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    let mut rest = request.as_mut_slice();
    let length = u32::try_from(REQUEST_BYTES).unwrap_or_default();
    for part in [
        length.to_ne_bytes().as_slice(),
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &REQUEST_DUMP.to_ne_bytes(),
        &[0; 8], // sequence and port id
        &[family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0],
        &STATES.to_ne_bytes(),
        // An all-zero socket id means every socket.
    ] {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    request
}

/// The messages in one received datagram. What is cut off or of another kind is left out.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message> + '_ {
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
            let message = datagram.get(..length)?;
            let kind = u16_at(message, 4)?;
            datagram = datagram.get(padded(length)..).unwrap_or_default();
            if let Some(message) = parse(kind, message.get(NETLINK_HEADER_BYTES..)?) {
                return Some(message);
            }
        }
    })
}

fn parse(kind: u16, payload: &[u8]) -> Option<Message> {
    match kind {
        SOCK_DIAG_BY_FAMILY => socket(payload).map(Message::Socket),
        NLMSG_DONE => Some(Message::Done),
        NLMSG_ERROR => Some(Message::Error(
            u32_at(payload, 0)?.cast_signed().saturating_neg(),
        )),
        _ => None,
    }
}

/// `None` for a socket without `tcp_info`: one in TIME_WAIT, whose bytes were announced before.
fn socket(payload: &[u8]) -> Option<TcpSocket> {
    let bytes = transferred(attribute(
        payload.get(DIAG_MESSAGE_BYTES..)?,
        INET_DIAG_INFO,
    )?)?;
    Some(TcpSocket {
        established: *payload.get(1)? == TCP_ESTABLISHED,
        local_port: u16::from_be_bytes(array_at(payload, 4)?),
        remote_port: u16::from_be_bytes(array_at(payload, 6)?),
        cookie: u64_at(payload, 44)?,
        bytes,
    })
}

/// `tcpi_bytes_acked` and `tcpi_bytes_received` of `struct tcp_info` (Linux 4.1 and later).
fn transferred(tcp_info: &[u8]) -> Option<u64> {
    Some(u64_at(tcp_info, 120)?.saturating_add(u64_at(tcp_info, 128)?))
}

fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == wanted {
            return Some(value);
        }
        attributes = attributes.get(padded(length)..)?;
    }
}

/// Netlink aligns messages and attributes to 4 bytes.
fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn array_at<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    array_at(bytes, start).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    array_at(bytes, start).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], start: usize) -> Option<u64> {
    array_at(bytes, start).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message as the kernel writes it, with an attribute of another kind in front of `tcp_info`.
    fn socket_message(local_port: u16, cookie: u64, acked: u64, received: u64) -> Vec<u8> {
        let mut tcp_info = vec![0; 240];
        tcp_info[120..128].copy_from_slice(&acked.to_ne_bytes());
        tcp_info[128..136].copy_from_slice(&received.to_ne_bytes());
        let mut payload = vec![0; DIAG_MESSAGE_BYTES];
        payload[1] = TCP_ESTABLISHED;
        payload[4..6].copy_from_slice(&local_port.to_be_bytes());
        payload[6..8].copy_from_slice(&4_000_u16.to_be_bytes());
        payload[44..52].copy_from_slice(&cookie.to_ne_bytes());
        payload.extend([5, 0, 8, 0, 0, 0, 0, 0]);
        payload.extend(u16::try_from(4 + tcp_info.len()).unwrap().to_ne_bytes());
        payload.extend(INET_DIAG_INFO.to_ne_bytes());
        payload.extend(tcp_info);
        message(SOCK_DIAG_BY_FAMILY, &payload)
    }

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(NETLINK_HEADER_BYTES + payload.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(payload);
        message
    }

    #[test]
    fn reads_several_messages_of_one_datagram() {
        let mut datagram = socket_message(6_379, 7, 1_000, 24);
        datagram.extend(message(99, &[1, 2, 3, 4]));
        datagram.extend(message(NLMSG_ERROR, &(-13_i32).to_ne_bytes()));
        datagram.extend(message(NLMSG_DONE, &[0; 4]));
        let expected = TcpSocket {
            established: true,
            local_port: 6_379,
            remote_port: 4_000,
            cookie: 7,
            bytes: 1_024,
        };
        assert_eq!(
            messages(&datagram).collect::<Vec<_>>(),
            [Message::Socket(expected), Message::Error(13), Message::Done]
        );
    }

    #[test]
    fn a_socket_without_tcp_info_is_left_out() {
        let datagram = message(SOCK_DIAG_BY_FAMILY, &[0; DIAG_MESSAGE_BYTES]);
        assert_eq!(messages(&datagram).count(), 0);
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_ends(bytes: Vec<u8>) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
        }

        #[test]
        fn a_datagram_that_is_cut_off_never_panics(length in 0_usize..400) {
            let datagram = socket_message(1, 2, 3, 4);
            messages(&datagram[..length.min(datagram.len())]).count();
        }
    }
}
