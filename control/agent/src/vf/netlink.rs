//! What answers of netlink are made of, whatever their family: errors, acknowledgements, attributes (netlink(7), linux/netlink.h).

use netlink_packet_core::NlasIterator;
use std::io;

/// `struct nlattr`.
const NLA_HEADER: usize = 4;
/// `struct nlmsghdr`.
pub const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
/// An error's number, the header of the request (which is not sent back whole, NETLINK_CAP_ACK), then attributes.
const ERROR_ATTRIBUTES: usize = 16 + 4 + 16;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Why the kernel did not do as it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The error number, positive.
    pub errno: i32,
    /// The driver's own sentence; often empty.
    pub message: String,
}

impl Refused {
    /// Whether the driver asks to be asked again (i40e: EAGAIN; ice: EBUSY).
    pub fn is_busy(&self) -> bool {
        let error = rustix::io::Errno::from_raw_os_error(self.errno);
        error == rustix::io::Errno::AGAIN || error == rustix::io::Errno::BUSY
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused {
            errno: error.raw_os_error().unwrap_or(0),
            message: match error.raw_os_error() {
                Some(_) => String::new(),
                None => error.to_string(),
            },
        }
    }
}

/// Whether a message is the one behind many.
pub fn is_done(message: &[u8]) -> bool {
    message.get(4..).and_then(half) == Some(NLMSG_DONE)
}

/// Whether a message is one of many.
pub fn is_of_many(message: &[u8]) -> bool {
    let flags = message.get(6..).and_then(half);
    flags.is_some_and(|flags| flags & NLM_F_MULTI != 0)
}

/// The answer itself, empty if it only acknowledges, or what it refuses.
pub fn answer(bytes: &[u8]) -> Result<Vec<u8>, Refused> {
    let malformed = || Refused {
        errno: 0,
        message: "the kernel's answer is malformed".into(),
    };
    let kind = half(bytes.get(4..).unwrap_or_default()).ok_or_else(malformed)?;
    match kind {
        NLMSG_ERROR => {
            let code = word(bytes.get(16..).unwrap_or_default()).ok_or_else(malformed)?;
            // Negative error numbers; 0 acknowledges (netlink(7)).
            let errno = (code as i32).checked_neg().unwrap_or(0);
            if errno == 0 {
                return Ok(Vec::new());
            }
            let attributes = attributes(bytes.get(ERROR_ATTRIBUTES..).unwrap_or_default());
            let message = attributes
                .into_iter()
                .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
            let message = message.map(|(_, text)| String::from_utf8_lossy(text).into_owned());
            Err(Refused {
                errno,
                message: message
                    .unwrap_or_default()
                    .trim_end_matches('\0')
                    .to_string(),
            })
        }
        _ => Ok(bytes.to_vec()),
    }
}

/// Kinds and values of attributes, up to the first that is malformed.
pub fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let attributes = NlasIterator::new(bytes).map_while(Result::ok);
    let parts = attributes.filter_map(|attribute| {
        let (kind, length) = (attribute.kind(), attribute.value_length());
        let value = attribute.into_inner().get(NLA_HEADER..)?.get(..length)?;
        Some((kind, value))
    });
    parts.collect()
}

/// A number of 32 bits at the front.
pub fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// A number of 16 bits at the front.
pub fn half(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?))
}

/// An error number as people read it, and the driver's sentence.
pub fn text(refused: &Refused) -> String {
    let number = match refused.errno {
        0 => String::new(),
        // The kernel's own ENOTSUPP, which no libc knows.
        524 => "Operation not supported".into(),
        errno => io::Error::from_raw_os_error(errno).to_string(),
    };
    match (number.is_empty(), refused.message.is_empty()) {
        (true, _) => refused.message.clone(),
        (false, true) => number,
        (false, false) => format!("{number}: {}", refused.message),
    }
}
