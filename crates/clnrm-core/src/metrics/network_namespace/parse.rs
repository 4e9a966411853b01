//! The tables of `/proc/[pid]/net`. Pure.

use std::collections::HashSet;

/// `TCP_ESTABLISHED` and `TCP_LISTEN` of net/tcp_states.h, as `net/tcp` prints them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";
/// 127.0.0.11, where an engine answers DNS queries inside the container, as `net/tcp` prints it on either byte order.
const ENGINE_DNS: [&str; 2] = ["0B00007F", "7F00000B"];

/// Received plus sent bytes of all interfaces in `net/dev` but the loopback.
pub(super) fn interface_bytes(text: &str) -> Option<u64> {
    // Two lines of headings.
    text.lines().skip(2).try_fold(0_u64, |sum, line| {
        let (name, counters) = line.split_once(':')?;
        if name.trim() == "lo" {
            return Some(sum);
        }
        let mut counters = counters.split_ascii_whitespace();
        let received: u64 = counters.next()?.parse().ok()?;
        let sent: u64 = counters.nth(7)?.parse().ok()?;
        Some(sum.saturating_add(received).saturating_add(sent))
    })
}

/// What `net/snmp` says of TCP, over IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpCounters {
    /// Connections that were opened from inside, ever.
    pub(super) active_opens: u64,
    /// Connections that are ESTABLISHED, or CLOSE_WAIT: closed by the other end alone.
    pub(super) established: u64,
}

pub(super) fn tcp_counters(text: &str) -> Option<TcpCounters> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names = lines.next()?.split(' ');
    let values: Vec<(&str, &str)> = names.zip(lines.next()?.split(' ')).collect();
    let value = |name: &str| {
        let (_, value) = values.iter().find(|(it, _)| *it == name)?;
        value.parse().ok()
    };
    Some(TcpCounters {
        active_opens: value("ActiveOpens")?,
        established: value("CurrEstab")?,
    })
}

/// Established connections, by who opened them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Directions {
    /// To a port on which something listens.
    pub(super) inbound: u64,
    /// All others.
    pub(super) outbound: u64,
}

/// From the texts of `net/tcp` and `net/tcp6`; lines of another form are left out.
pub(super) fn directions(tables: &[&str]) -> Directions {
    let sockets: Vec<Socket<'_>> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(socket)
        .collect();
    let listening: HashSet<&str> = sockets
        .iter()
        .filter(|socket| socket.state == LISTEN && !ENGINE_DNS.contains(&socket.local_address))
        .map(|socket| socket.local_port)
        .collect();
    let mut directions = Directions::default();
    for socket in sockets.iter().filter(|it| it.state == ESTABLISHED) {
        if listening.contains(socket.local_port) {
            directions.inbound += 1;
        } else {
            directions.outbound += 1;
        }
    }
    directions
}

struct Socket<'a> {
    local_address: &'a str,
    local_port: &'a str,
    state: &'a str,
}

fn socket(line: &str) -> Option<Socket<'_>> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local_address, local_port) = fields.next()?.split_once(':')?;
    Some(Socket {
        local_address,
        local_port,
        state: fields.nth(1)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 5000000   2    0    0    0     0          0         0  5000000       2    0    0    0     0       0          0
  eth0:     200       2    0    0    0     0          0         0       31       1    0    0    0     0       0          0
eth1.7:1000000000000 3 0 0 0 0 0 0 7 1 0 0 0 0 0 0
";
    const NET_SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs
Tcp: 1 200 120000 -1 3 9 0 0 4 60
Udp: InDatagrams
Udp: 0
";
    /// A listener at port 6379 of every address with two clients, the engine's DNS with one, a connection outwards.
    const NET_TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:A2C3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 564576 1 0 100 0 0 10 0
   1: 0B00007F:A2C3 030012AC:D1E2 01 00000000:00000000 00:00000000 00000000     0        0 564578 1 0 20 4 30 10 -1
   2: 020012AC:D1E2 010012AC:01BB 01 00000000:00000000 00:00000000 00000000     0        0 564579 1 0 20 4 30 10 -1
   3: 020012AC:18EB 010012AC:C001 01 00000000:00000000 00:00000000 00000000     0        0 564580 1 0 20 4 30 10 -1
   4: 020012AC:18EB 010012AC:C002 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
";
    const NET_TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:18EB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 564577 1 0 100 0 0 10 0
   1: 0000000000000000FFFF0000020012AC:18EB 0000000000000000FFFF0000010012AC:C003 01 00000000:00000000 00:00000000 00000000     0        0 564581 1 0 20 4 30 10 -1
";

    #[test]
    fn bytes_are_of_all_interfaces_but_the_loopback() {
        assert_eq!(interface_bytes(NET_DEV), Some(1_000_000_000_238));
        let without_interfaces: String = NET_DEV
            .lines()
            .take(3)
            .map(|it| format!("{it}\n"))
            .collect();
        assert_eq!(interface_bytes(&without_interfaces), Some(0));
        assert_eq!(interface_bytes(&NET_DEV.replace(" 31 ", " x ")), None);
    }

    #[test]
    fn counters_are_found_by_their_names() {
        let expected = TcpCounters {
            active_opens: 3,
            established: 4,
        };
        assert_eq!(tcp_counters(NET_SNMP), Some(expected));
        assert_eq!(tcp_counters(&NET_SNMP.replace("CurrEstab", "Other")), None);
    }

    #[test]
    fn connections_are_told_apart_by_who_listens() {
        let expected = Directions {
            inbound: 2,
            outbound: 2,
        };
        assert_eq!(directions(&[NET_TCP, NET_TCP6]), expected);
    }

    proptest! {
        #[test]
        fn reading_never_panics(text: String) {
            interface_bytes(&text);
            tcp_counters(&text);
            directions(&[&text]);
        }

        #[test]
        fn cut_and_damaged_tables_never_panic(cut in 0_usize..900, piece in "[ :0-9A-F\n]{0,9}") {
            for text in [NET_DEV, NET_SNMP, NET_TCP, NET_TCP6] {
                let cut = cut.min(text.len());
                let text = format!("{}{piece}{}", &text[..cut], &text[(cut + 9).min(text.len())..]);
                interface_bytes(&text);
                tcp_counters(&text);
                directions(&[&text]);
            }
        }
    }
}
