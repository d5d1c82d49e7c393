//! Numbers, texts, lists and addresses as bytes, summed up as they are written or read.

use std::io::{Read, Write};
use std::net::IpAddr;

use ipnet::IpNet;
use weir_wire::Mac;

use super::CHUNK;
use crate::config::fields::{self, Name};
use crate::config::spans::Line;
use crate::last_good::Refused;

/// Where bytes go, summed up.
pub struct Output<W> {
    to: W,
    sum: crc32fast::Hasher,
    length: u64,
}

impl<W: Write> Output<W> {
    /// To `to`, which nothing has been written to that counts.
    pub fn to(to: W) -> Output<W> {
        Output {
            to,
            sum: crc32fast::Hasher::new(),
            length: 0,
        }
    }

    /// How many bytes were written, and their sum.
    pub fn written(self) -> (u64, u32) {
        (self.length, self.sum.finalize())
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.sum.update(bytes);
        self.length += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    pub(super) fn u8(&mut self, value: u8) -> std::io::Result<()> {
        self.bytes(&[value])
    }

    /// A number.
    pub fn u32(&mut self, value: u32) -> std::io::Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    /// A number.
    pub fn u64(&mut self, value: u64) -> std::io::Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn text(&mut self, text: &str) -> std::io::Result<()> {
        self.u64(text.len() as u64)?;
        self.bytes(text.as_bytes())
    }

    pub(super) fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.u64(items.len() as u64)?;
        for item in items {
            each(self, item)?;
        }
        Ok(())
    }

    pub(super) fn optional<T>(
        &mut self,
        item: Option<T>,
        each: impl FnOnce(&mut Self, T) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.u8(u8::from(item.is_some()))?;
        item.map_or(Ok(()), |item| each(self, item))
    }

    pub(super) fn address(&mut self, address: IpAddr) -> std::io::Result<()> {
        match address {
            IpAddr::V4(address) => {
                self.u8(4)?;
                self.bytes(&address.octets())
            }
            IpAddr::V6(address) => {
                self.u8(6)?;
                self.bytes(&address.octets())
            }
        }
    }

    pub(super) fn addresses(&mut self, addresses: &[IpAddr]) -> std::io::Result<()> {
        self.list(addresses.iter(), |to, address| to.address(*address))
    }

    pub(super) fn net(&mut self, net: &IpNet) -> std::io::Result<()> {
        self.address(net.addr())?;
        self.u8(net.prefix_len())
    }
}

/// Where bytes come from, summed up. However long a list says it is, no more is taken into memory than there is.
pub struct Input<R> {
    from: R,
    sum: crc32fast::Hasher,
    left: u64,
}

impl<'b> Input<&'b [u8]> {
    /// From bytes.
    pub fn of(bytes: &'b [u8]) -> Input<&'b [u8]> {
        Input {
            from: bytes,
            sum: crc32fast::Hasher::new(),
            left: bytes.len() as u64,
        }
    }
}

impl Input<std::io::BufReader<std::fs::File>> {
    /// The next `left` bytes of a file.
    pub fn within(file: std::fs::File, left: u64) -> Self {
        Input {
            from: std::io::BufReader::with_capacity(CHUNK, file),
            sum: crc32fast::Hasher::new(),
            left,
        }
    }
}

impl<R: Read> Input<R> {
    /// How many bytes are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The sum of those that were read.
    pub fn sum(self) -> u32 {
        self.sum.finalize()
    }

    pub(super) fn fill(&mut self, into: &mut [u8]) -> Result<(), Refused> {
        let short = Refused::Damaged("a length is beyond its end");
        self.left = self.left.checked_sub(into.len() as u64).ok_or(short)?;
        self.from.read_exact(into)?;
        self.sum.update(into);
        Ok(())
    }

    /// So many bytes.
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Refused> {
        self.bytes().map(|[byte]| byte)
    }

    /// A number.
    pub fn u32(&mut self) -> Result<u32, Refused> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// A number.
    pub fn u64(&mut self) -> Result<u64, Refused> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Refused> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Refused::Damaged("neither true nor false")),
        }
    }

    /// The length of a list of things that take `each` bytes at least.
    pub(super) fn length(&mut self, each: usize) -> Result<usize, Refused> {
        let length = self.u64()?;
        let bytes = length.checked_mul(each as u64);
        match bytes.filter(|bytes| *bytes <= self.left) {
            Some(_) => Ok(length as usize),
            None => Err(Refused::Damaged("a length is beyond its end")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Refused> {
        let mut bytes = vec![0; self.length(1)?];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| Refused::Damaged("a text is not UTF-8"))
    }

    pub(super) fn name(&mut self) -> Result<Name, Refused> {
        let text = self.text()?;
        fields::name(&text).map_err(|_| Refused::Damaged("a name is none"))?;
        Ok(text.into())
    }

    pub(super) fn line(&mut self) -> Result<Line, Refused> {
        self.u32().map(Line)
    }

    pub(super) fn list<T>(
        &mut self,
        each_bytes: usize,
        mut each: impl FnMut(&mut Self) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        (0..self.length(each_bytes)?).map(|_| each(self)).collect()
    }

    pub(super) fn optional<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<Option<T>, Refused> {
        self.bool()?.then(|| each(self)).transpose()
    }

    pub(super) fn address(&mut self) -> Result<IpAddr, Refused> {
        match self.u8()? {
            4 => self.bytes::<4>().map(IpAddr::from),
            6 => self.bytes::<16>().map(IpAddr::from),
            _ => Err(Refused::Damaged("an address of no family")),
        }
    }

    pub(super) fn addresses(&mut self) -> Result<Vec<IpAddr>, Refused> {
        self.list(5, Self::address)
    }

    pub(super) fn net(&mut self) -> Result<IpNet, Refused> {
        let (address, length) = (self.address()?, self.u8()?);
        IpNet::new(address, length).map_err(|_| Refused::Damaged("a prefix is too long"))
    }

    pub(super) fn mac(&mut self) -> Result<Mac, Refused> {
        self.bytes().map(Mac::new)
    }
}
