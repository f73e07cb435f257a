//! Which addresses are on the public internet: the special-purpose registries of IANA (RFC 6890), and the
//! addresses at which clouds tell their machines secrets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// Out.
    Public,
    /// Into this machine or a network around it.
    Private,
    /// Nowhere that a request has any business, private networks or not.
    Never,
}

/// Where an address leads.
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        // "This network"; link-local with the clouds' metadata; protocol assignments, among them Oracle's metadata;
        // documentation; the old 6to4 relays; multicast, reserved and broadcast.
        [0 | 224..=255, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        // Metadata of Alibaba and of Azure.
        | [100, 100, 100, 200]
        | [168, 63, 129, 16] => Reach::Never,
        [10 | 127, ..]
        | [100, 64..=127, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [198, 18..=19, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // An IPv4 address in other clothes: mapped, or through NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // Metadata of AWS and of Google, inside the unique local ones; Teredo, ORCHID and other protocol assignments;
        // documentation; 6to4, which hides an IPv4 address.
        [0xfd00, 0xec2, ..]
        | [0xfd20, 0xce, ..]
        | [0x2001, 0..=0x1ff | 0xdb8, ..]
        | [0x2002, ..]
        | [0x3fff, 0..=0xfff, ..] => Reach::Never,
        [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff, ..] => Reach::Private,
        [0x2000..=0x3fff, ..] => Reach::Public,
        // Unspecified, compatible, local NAT64, discard-only, link-local, site-local, multicast, unassigned.
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_is_known_at_both_its_ends() {
        for (reaches, addresses) in [
            (
                Reach::Public,
                "1.0.0.0 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
                 168.63.129.15 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 \
                 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2000:: 2606:4700::1111 \
                 2001:200:: 2001:db7:ffff:: 2003:: 3ffe:: ::ffff:8.8.8.8 64:ff9b::8.8.8.8",
            ),
            (
                Reach::Private,
                "10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 172.16.0.0 \
                 172.31.255.255 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 ::1 fc00:: fdff:ffff:: \
                 ::ffff:127.0.0.1 ::ffff:10.1.2.3 64:ff9b::10.0.0.1",
            ),
            (
                Reach::Never,
                "0.0.0.0 0.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 100.100.100.200 168.63.129.16 \
                 192.0.0.192 192.0.2.1 192.88.99.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.0 \
                 255.255.255.255 :: ::2 ::127.0.0.1 ::ffff:169.254.169.254 64:ff9b::169.254.169.254 \
                 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:1ff:: 2001:db8::1 2002:7f00:1:: 3fff::1 fe80::1 febf:: \
                 fec0::1 ff02::1 fd00:ec2::254 fd20:ce::254 4000::",
            ),
        ] {
            for text in addresses.split_whitespace() {
                assert_eq!(reach(text.parse().unwrap()), reaches, "{text}");
            }
        }
    }
}
