//! A text that is cheap to hand on: what a token says goes into the token that is made from it, the log line and the memory, and
//! none of them needs a copy of its own.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

use zeroize::Zeroize;

/// A text: one of the program's own, one by itself, or a part of a longer one that others have parts of too.
#[derive(Clone)]
pub struct Text(Kept);

#[derive(Clone)]
enum Kept {
    Fixed(&'static str),
    Owned(Box<str>),
    // By a thin pointer and short numbers: values of JSON are many where somebody means harm.
    Part { whole: Arc<String>, start: u32, end: u32 },
}

impl Text {
    /// A text of the program's own.
    #[must_use]
    pub const fn fixed(text: &'static str) -> Self {
        Self(Kept::Fixed(text))
    }

    /// A text to be handed on without copies.
    #[must_use]
    pub fn shared(text: String) -> Self {
        match u32::try_from(text.len()) {
            Ok(end) => Self(Kept::Part { whole: Arc::new(text), start: 0, end }),
            Err(_) => text.into(),
        }
    }

    /// The same text by itself, so that it keeps nothing else.
    #[must_use]
    pub fn alone(&self) -> Self {
        match &self.0 {
            Kept::Part { whole, .. } if whole.len() > self.len() => (&**self).into(),
            _ => self.clone(),
        }
    }

    /// The part that `text` is of `whole`, if it is one in memory; else a copy.
    pub(crate) fn part_of(whole: &Arc<String>, text: &str) -> Self {
        let start = text.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        let end = start.wrapping_add(text.len());
        match (whole.get(start..end), u32::try_from(start), u32::try_from(end)) {
            (Some(part), Ok(start), Ok(end)) if core::ptr::eq(part, text) => {
                Self(Kept::Part { whole: Arc::clone(whole), start, end })
            }
            _ => text.into(),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kept::Fixed(text) => text,
            Kept::Owned(text) => text,
            Kept::Part { whole, start, end } => match (usize::try_from(*start), usize::try_from(*end)) {
                (Ok(start), Ok(end)) => whole.get(start..end).unwrap_or_default(),
                _ => "",
            },
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Kept::Owned(text.into()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Kept::Owned(text.into()))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Zeroize for Text {
    /// Wipes a text by itself. One that shares its memory forgets it alone, so secrets are never read into such.
    fn zeroize(&mut self) {
        match &mut self.0 {
            Kept::Owned(text) => text.zeroize(),
            other => *other = Kept::Fixed(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_same_text_and_what_is_no_part_is_copied() {
        let whole: Arc<String> = Arc::new("a token of ours".into());
        let part = Text::part_of(&whole, &whole[2..7]);
        assert_eq!((&*part, Arc::strong_count(&whole)), ("token", 2));
        for elsewhere in ["token", "", "a token of ours and more"] {
            let copied = Text::part_of(&whole, elsewhere);
            assert_eq!((&*copied, Arc::strong_count(&whole)), (elsewhere, 2));
        }
        drop(part.alone());
        assert_eq!((&*part.alone(), Arc::strong_count(&whole)), ("token", 2));
        drop(part);
        assert_eq!(Arc::strong_count(&whole), 1);
    }

    #[test]
    fn a_text_by_itself_is_wiped() {
        let mut text = Text::from("secret");
        text.zeroize();
        assert!(text.bytes().all(|byte| byte == 0), "{text:?}");
        let mut shared = Text::shared("no secret".into());
        shared.zeroize();
        assert_eq!(shared, "");
    }
}
