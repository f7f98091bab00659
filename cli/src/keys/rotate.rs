//! `jwt-reissuer keys rotate`: the keyring in force with the next key in it.

use std::time::Duration;

use clap::Args;
use jwt_reissuer::keyring::{Keyring, MAX_KEYS};
use jwt_reissuer::timetable::text_of;
use zeroize::Zeroizing;

use super::PublishAhead;
use crate::document::{self, KeyEntry, KeyringDocument};
use crate::failure::{Failure, say};
use crate::files::{IfExists, KeyringText, Place};
use crate::form::{self, Form, OpenedKeyring, VARIABLE};
use crate::fresh_key::{self, SigningAlgorithm};
use crate::gaps;
use crate::key_times::KeyTimes;
use crate::secret::{ResourceVersion, SecretKey};

/// How long a changed keyring may take on its way to the gateways; a kubelet takes a minute or two.
const DELIVERY: Duration = Duration::from_secs(600);
/// Seconds that a retired key stays in the document, so that `keys check` still tells of it. It goes sooner where the next key
/// has no room.
const KEPT_AFTER_RETIREMENT: u64 = 86_400;

/// Adds the next key to the keyring in force.
///
/// The next key is published first and takes over later; the key before it stays published until its last token has expired.
/// While a key has not taken over yet, nothing is changed: the command may be run any number of times. Its only input is the
/// keyring that is in force. A result that gateways would refuse, or that would break a valid token, is not written.
///
/// The form stays as it was: sealed with REISSUER_SEALING_KEY (with its first key, where it holds several), JSON, or base64 on
/// one line, which a PEM becomes too. The file ends without a line break.
#[derive(Args)]
pub struct Rotate {
    /// The keyring in force, which is replaced; - reads standard input and writes standard output
    file: Place,
    /// When the next key takes over; publish-ahead and ten minutes from now unless given
    #[arg(long, value_name = "TIME", value_parser = super::rfc3339)]
    sign_at: Option<u64>,
    #[command(flatten)]
    ahead: PublishAhead,
    /// The algorithm of the next key; that of the key that signs now unless given
    #[arg(long, value_enum, ignore_case = true)]
    algorithm: Option<SigningAlgorithm>,
    /// The file to write in place of FILE; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<Place>,
    /// Write the manifest of this Secret, as kubectl apply takes it, in place of the keyring alone
    #[arg(long, value_name = "NAMESPACE/NAME/KEY", requires = "output")]
    kubernetes_secret: Option<SecretKey>,
    /// The metadata.resourceVersion of the Secret that FILE was read from, for its manifest
    ///
    /// Two rotations at once, such as an operator's and a CronJob's, read one keyring. Without a version, the later manifest
    /// replaces the earlier one, and withdraws a key that is published already. With it, the API server refuses the later manifest
    /// with a conflict: read the Secret again then, and rotate it. Take the version from the read that gave FILE, or from an
    /// earlier one. The version of a later read hides a change.
    #[arg(long, value_name = "VERSION", requires = "kubernetes_secret")]
    resource_version: Option<ResourceVersion>,
}

/// A keyring with the next key in it.
struct Rotated<'a> {
    document: KeyringDocument<'a>,
    removed: Vec<Retirement>,
}

/// When a key of the keyring in force retires.
struct Retirement {
    /// Seconds since 1970
    retires_at: u64,
    /// Its place in the keyring
    place: usize,
    kid: String,
}

impl Rotate {
    pub fn run(&self, now: u64) -> Result<(), Failure> {
        let sealing_keys = form::sealing_keys()?;
        let source = self.file.source();
        let output = self.output.as_ref().unwrap_or(&self.file);
        let is_in_place = output.replaces(&self.file)?;
        if self.kubernetes_secret.is_some() && is_in_place {
            let message = "--kubernetes-secret would replace the keyring by a manifest: give another file by -o";
            return Err(Failure::Unusable(message.into()));
        }
        // Two runs that read the file before one of them writes it would lose the key of the other.
        let _lock = if self.file == Place::Standard { None } else { output.lock()? };
        let text = self.file.read()?;
        let OpenedKeyring { plain, form } = form::open(&source, &text, sealing_keys.as_ref())?;
        let is_sealed = form == Form::Sealed;
        output.refuse_terminal(is_sealed)?;
        let publish_ahead = self.ahead.publish_ahead;
        let old = super::parse(&source, &plain, true, publish_ahead, now)?;

        let under_way = taking_over(&old, now);
        if !under_way.is_empty() {
            if !is_in_place {
                let text = Zeroizing::new(text.trim_ascii().to_vec());
                output.write(&self.written(KeyringText { text, hides_private_keys: is_sealed }), IfExists::Replace)?;
            }
            under_way.iter().for_each(say_taking_over);
            say("a rotation is under way: the keyring stays as it is");
            return Ok(());
        }

        let decoded = document::without_base64(&plain)?;
        let Rotated { document, removed } = self.rotated(&decoded, &old, now)?;
        let keyring = form.write(&document, sealing_keys.as_ref())?;
        // The text that will be in the file is judged, not the document before it was written.
        let written = form::open("the rotated keyring", &keyring.text, sealing_keys.as_ref())?;
        let new = super::parse("the rotated keyring", &written.plain, true, publish_ahead, now)?;
        let gaps = gaps::between(&old, &new, now, publish_ahead);
        if !gaps.is_empty() {
            let messages: Vec<String> = gaps.iter().map(|gap| gap.message(publish_ahead)).collect();
            return Err(Failure::Refused(messages.join("\n")));
        }
        output.write(&self.written(keyring), IfExists::Replace)?;

        taking_over(&new, now).iter().for_each(say_taking_over);
        for Retirement { kid, retires_at, .. } in removed {
            say(&format!("key {kid:?} retired at {}, and was removed", text_of(retires_at)));
        }
        let place = document.keys.len().saturating_sub(1);
        match KeyTimes::of(new.timetable(), place).publish_at {
            at if at > now => say(&format!("the gateways must have this keyring before {}", text_of(at))),
            _ => say("the gateways must have this keyring at once"),
        }
        if sealing_keys.is_some() && !is_sealed {
            say(&format!("the keyring was not sealed, and stays so, although {VARIABLE} is set"));
        }
        Ok(())
    }

    fn written(&self, keyring: KeyringText) -> KeyringText {
        match &self.kubernetes_secret {
            Some(secret) => secret.manifest(&keyring, self.resource_version),
            None => keyring,
        }
    }

    fn rotated<'a>(&self, plain: &'a [u8], old: &Keyring, now: u64) -> Result<Rotated<'a>, Failure> {
        let unless_given = || old.signing(now).and_then(|(_, key)| SigningAlgorithm::of(key.algorithm()));
        let algorithm = self.algorithm.or_else(unless_given).unwrap_or(SigningAlgorithm::Rs256);
        let ahead = self.ahead.publish_ahead.saturating_add(DELIVERY).as_secs();
        let sign_at = self.sign_at.unwrap_or_else(|| now.saturating_add(ahead));
        if sign_at <= now {
            return Err(Failure::Refused(format!("--sign-at {} is not in the future", text_of(sign_at))));
        }
        let mut document = KeyringDocument::read(plain, old)?;
        let removed = self.removable(old, document.keys.len(), now)?;
        let next = fresh_key::generate(algorithm, None, &mut super::rng()?)?;
        let mut places = 0..;
        document.keys.retain(|_| places.next().is_none_or(|place| removed.iter().all(|gone| gone.place != place)));
        document.keys.push(KeyEntry { sign_at: Some(text_of(sign_at)), ..next });
        Ok(Rotated { document, removed })
    }

    /// The keys to remove, in the order of their retirement: the keys that retired long ago, and more retired ones where the next
    /// key has no room. A key that has not retired may have valid tokens, and is never removed.
    ///
    /// # Errors
    /// [`Failure::Refused`] where the keyring has `count` keys and too few of them have retired.
    fn removable(&self, old: &Keyring, count: usize, now: u64) -> Result<Vec<Retirement>, Failure> {
        let retirement = |place| {
            let retires_at = KeyTimes::of(old.timetable(), place).retire_at?;
            let (kid, _) = old.key(place)?;
            Some(Retirement { retires_at, place, kid: kid.to_string() })
        };
        let mut retirements: Vec<Retirement> = (0..count).filter_map(retirement).collect();
        retirements.sort_unstable_by_key(|key| (key.retires_at, key.place));
        let retired = retirements.partition_point(|key| key.retires_at <= now);
        let excess = count.saturating_add(1).saturating_sub(MAX_KEYS);
        if retired < excess {
            return Err(self.full(retirements.get(retired)));
        }
        let long_ago = retirements.partition_point(|key| key.retires_at.saturating_add(KEPT_AFTER_RETIREMENT) <= now);
        retirements.truncate(long_ago.max(excess));
        Ok(retirements)
    }

    /// Why no key can be added, and what to do; `next` is the key that retires first from now on.
    fn full(&self, next: Option<&Retirement>) -> Failure {
        let remedy = match next {
            Some(Retirement { retires_at, kid, .. }) => {
                let at = text_of(*retires_at);
                format!("Key {kid:?} retires first, at {at}. Run the command again then, and less often.")
            }
            None => "None of them will: remove a public key that no gateway signs with.".into(),
        };
        Failure::Refused(format!(
            "{}: the keyring has no room for the next key: it holds {MAX_KEYS} keys, a gateway takes no more, and none has \
             retired.\n{remedy}",
            self.file.source()
        ))
    }
}

/// The keys that have not begun to sign, with their kids and when they will.
fn taking_over(keyring: &Keyring, now: u64) -> Vec<(String, u64)> {
    let keys = (0..).map_while(|place| keyring.key(place).map(|(kid, _)| (place, kid)));
    let later = keys.filter_map(|(place, kid)| {
        let at = KeyTimes::of(keyring.timetable(), place).takes_over(now)?;
        Some((kid.to_string(), at))
    });
    later.collect()
}

fn say_taking_over((kid, at): &(String, u64)) {
    say(&format!("key {kid:?} takes over at {}; until then it is published only", text_of(*at)));
}
