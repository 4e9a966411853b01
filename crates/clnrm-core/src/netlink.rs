//! Questions to the kernel about sockets, and the bytes of its answers: netlink(7), `sock_diag(7)`, linux/inet_diag.h.
//!
//! Deliberately absent: what a socket is asked for. `metrics` counts connections and their bytes, `backend` looks for
//! listeners.

use std::io;

use netlink_sys::{Socket, SocketAddr};

/// `AF_INET` of socket(2).
pub(crate) const AF_INET: u8 = 2;
/// `AF_INET6` of socket(2).
pub(crate) const AF_INET6: u8 = 10;

const IPPROTO_TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x001 | 0x300;

const HEADER_BYTES: usize = 16;
/// `struct inet_diag_req_v2` behind its header.
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
/// The kernel fills at most 32 KiB per message of a dump.
pub(crate) const MESSAGE_BYTES: usize = 64 << 10;

/// Which TCP sockets a dump is to show, and what of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Bit n stands for state n of linux/tcp_states.h.
    pub(crate) states: u32,
    /// Bit n - 1 stands for attribute n.
    pub(crate) attributes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// `struct inet_diag_msg` and its attributes.
    Socket(&'a [u8]),
    Done,
    Error(i32),
}

/// All such TCP sockets of this network namespace, over IPv4 and IPv6, that `read` makes something of.
///
/// Errors: this kernel has no socket statistics, or they are forbidden here.
pub(crate) fn dump<T>(
    socket: &Socket,
    wanted: Wanted,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(MESSAGE_BYTES);
    for family in [AF_INET, AF_INET6] {
        socket.send_to(&dump_request(family, wanted), &SocketAddr::new(0, 0), 0)?;
        let mut done = false;
        while !done {
            buffer.clear();
            socket.recv(&mut buffer, 0)?;
            for message in messages(&buffer) {
                match message {
                    Message::Socket(bytes) => found.extend(read(bytes)),
                    Message::Done => done = true,
                    Message::Error(code) => return Err(io::Error::from_raw_os_error(code)),
                }
            }
        }
    }
    Ok(found)
}

fn dump_request(family: u8, wanted: Wanted) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    let mut rest = request.as_mut_slice();
    let length = u32::try_from(REQUEST_BYTES).unwrap_or_default();
    for part in [
        length.to_ne_bytes().as_slice(),
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &REQUEST_DUMP.to_ne_bytes(),
        &[0; 8], // sequence and port id
        &[family, IPPROTO_TCP, wanted.attributes, 0],
        &wanted.states.to_ne_bytes(),
        // An all-zero socket id means every socket.
    ] {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    request
}

/// The messages in one received datagram. What is cut off or of another kind is left out.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
            let message = datagram.get(..length)?;
            let kind = u16_at(message, 4)?;
            datagram = datagram.get(padded(length)..).unwrap_or_default();
            let payload = message.get(HEADER_BYTES..)?;
            match kind {
                SOCK_DIAG_BY_FAMILY => return Some(Message::Socket(payload)),
                NLMSG_DONE => return Some(Message::Done),
                NLMSG_ERROR => {
                    let code = u32_at(payload, 0)?.cast_signed();
                    return Some(Message::Error(code.saturating_neg()));
                }
                _ => {}
            }
        }
    })
}

/// An attribute of a message, by its number.
pub(crate) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
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

pub(crate) fn array_at<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    array_at(bytes, start).map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    array_at(bytes, start).map(u32::from_ne_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], start: usize) -> Option<u64> {
    array_at(bytes, start).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message as the kernel writes it.
    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + payload.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(payload);
        message
    }

    #[test]
    fn reads_several_messages_of_one_datagram() {
        let mut datagram = message(SOCK_DIAG_BY_FAMILY, &[7; 6]);
        datagram.extend([0; 2]);
        datagram.extend(message(99, &[1, 2, 3, 4]));
        datagram.extend(message(NLMSG_ERROR, &(-13_i32).to_ne_bytes()));
        datagram.extend(message(NLMSG_DONE, &[0; 4]));
        assert_eq!(
            messages(&datagram).collect::<Vec<_>>(),
            [Message::Socket(&[7; 6]), Message::Error(13), Message::Done]
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_ends(bytes: Vec<u8>) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            attribute(&bytes, 2);
        }

        #[test]
        fn a_datagram_that_is_cut_off_never_panics(length in 0_usize..40) {
            let datagram = message(SOCK_DIAG_BY_FAMILY, &[1; 40]);
            messages(&datagram[..length]).count();
        }
    }
}
