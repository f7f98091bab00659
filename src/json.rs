//! Strict JSON (RFC 8259), for everything that is parsed here: tokens, key sets, keyrings, configuration.
//!
//! Stricter than most parsers on purpose. Two parsers that read one text differently are how a forged token slips
//! through, so a member given twice is refused at every depth, nesting is bounded and nothing may follow the value.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use zeroize::Zeroize;

use crate::text::Text;

/// How deep arrays and objects may nest: a service-account token needs four.
pub const MAX_DEPTH: usize = 16;
/// So many members are compared each with each.
const FEW: usize = 16;

/// A JSON value whose objects have unique member names, in the order they were written.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; [`Json::as_u64`] gives the ones that claims and times are made of.
    Number(serde_json::Number),
    /// A string
    String(Text),
    /// An array
    Array(Vec<Json>),
    /// An object
    Object(Object),
}

/// The members of an object: names are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(Text, Json)>);

/// Why a text is not the JSON we take; displays as line, column and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError(String);

impl Json {
    /// Parses one value that fills the whole text.
    ///
    /// # Errors
    /// [`JsonError`] for a text that is not JSON, is not UTF-8, repeats a member, nests deeper than [`MAX_DEPTH`] or
    /// goes on after the value.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let value = Nested { depth_left: MAX_DEPTH, whole: None }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    /// The same, whose texts are parts of the whole wherever they can be. Not for secrets: what is shared is not wiped.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn parse_shared(whole: &Arc<String>) -> Result<Self, JsonError> {
        let mut deserializer = serde_json::Deserializer::from_str(whole);
        let value = Nested { depth_left: MAX_DEPTH, whole: Some(whole) }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    /// The value as an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The value as an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The value as a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The value as a whole number written without sign, fraction or exponent; `-0`, `1.0` and `1e3` are none.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(number) = self { number.as_u64() } else { None }
    }
}

impl Zeroize for Json {
    /// Wipes every text in it.
    fn zeroize(&mut self) {
        match self {
            Self::String(text) => text.zeroize(),
            Self::Array(items) => items.iter_mut().for_each(Zeroize::zeroize),
            Self::Object(Object(members)) => members.iter_mut().for_each(|(_, value)| value.zeroize()),
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
        }
    }
}

impl Object {
    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.member(name).map(|(_, value)| value)
    }

    /// The member of that name, with its name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&(Text, Json)> {
        self.0.iter().find(|(member, _)| member == name)
    }

    /// An empty one with room for so many members.
    #[must_use]
    pub fn with_capacity(members: usize) -> Self {
        Self(Vec::with_capacity(members))
    }

    /// All members, in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Sets a member: replaced in place where the name is there already, else written last.
    pub fn set(&mut self, name: impl Into<Text>, value: Json) {
        let name = name.into();
        match self.0.iter_mut().find(|(member, _)| *member == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// The object as JSON text without white space.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Strings, numbers and string-keyed members always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl<const N: usize> From<[(&'static str, Json); N]> for Object {
    fn from(members: [(&'static str, Json); N]) -> Self {
        let mut object = Self::with_capacity(N);
        for (name, value) in members {
            object.set(Text::fixed(name), value);
        }
        object
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<Text> for Json {
    fn from(text: Text) -> Self {
        Self::String(text)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => items.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(&**name, value)?;
        }
        map.end()
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for JsonError {}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads one value with so many levels of nesting left.
#[derive(Clone, Copy)]
struct Nested<'a> {
    depth_left: usize,
    /// The text that is read, where parts of it may be kept
    whole: Option<&'a Arc<String>>,
}

/// Reads the name of a member.
struct Name<'a> {
    whole: Option<&'a Arc<String>>,
}

impl Nested<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { depth_left, ..self })
    }
}

/// A text that stands in the whole as it is; one with escapes does not.
fn borrowed(whole: Option<&Arc<String>>, text: &str) -> Text {
    whole.map_or_else(|| text.into(), |whole| Text::part_of(whole, text))
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Text, E> {
        Ok(borrowed(self.whole, name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Text, E> {
        Ok(name.into())
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json, E> {
        Ok(Json::String(borrowed(self.whole, value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::with_capacity(1);
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        fit(&mut array);
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut object = Vec::new();
        while let Some(name) = members.next_key_seed(Name { whole: self.whole })? {
            object.push((name, members.next_value_seed(inner)?));
        }
        fit(&mut object);
        if has_repeats(&object) {
            return Err(A::Error::custom("a member is given twice"));
        }
        Ok(Json::Object(Object(object)))
    }
}

fn has_repeats(members: &[(Text, Json)]) -> bool {
    if members.len() <= FEW {
        let mut rest = members;
        while let Some(((name, _), others)) = rest.split_first() {
            if others.iter().any(|(other, _)| other == name) {
                return true;
            }
            rest = others;
        }
        return false;
    }
    // Sorting finds a repeated name in n log n, so that a text of ten thousand members costs no more than its length.
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair.first() == pair.last())
}

/// Room is made for four at once: arrays of one in arrays of one would take 64 bytes for each byte of the text.
fn fit<T>(list: &mut Vec<T>) {
    if list.capacity() / 2 > list.len() {
        list.shrink_to_fit();
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn texts_that_two_parsers_could_read_differently_are_refused() {
        for (text, why) in [
            (r#"{"a":1,"a":2}"#, "twice"),
            (r#"{"a":1,"\u0061":2}"#, "twice"),
            (r#"[{"x":{"a":1,"b":2,"a":3}}]"#, "twice"),
            (r#"{"a":1} x"#, "trailing characters"),
            (r#"{"a":1,}"#, "trailing comma"),
            (r#"{"a":1 /* c */}"#, "expected"),
            ("\u{feff}{}", "expected value"),
            (r#""\ud800""#, "hex escape"),
            ("NaN", "expected value"),
            ("1e400", "out of range"),
            ("", "EOF"),
        ] {
            let error = Json::parse(text.as_bytes()).expect_err(text);
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_is_bounded_at_sixteen() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(Json::parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(Json::parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn only_plain_whole_numbers_count_as_such() {
        for (text, number) in [
            ("0", Some(0)),
            ("1767225600", Some(1_767_225_600)),
            ("-0", None),
            ("-1", None),
            ("1.0", None),
            ("1e3", None),
            ("18446744073709551616", None),
            ("\"1\"", None),
        ] {
            assert_eq!(Json::parse(text.as_bytes()).map(|json| json.as_u64()), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_is_parsed_is_written_back_in_its_order() {
        let text = r#"{"b":[1,null,true,"\n"],"a":{"n":-1.5}}"#;
        assert_eq!(serde_json::to_string(&Json::parse(text.as_bytes()).unwrap()).unwrap(), text);
    }
}
