//! `jwt-reissuer keys public`: the public half of a keyring.

use clap::Args;
use p256::pkcs8::{Document, LineEnding};

use super::PublishAhead;
use crate::document::{self, KeyringDocument};
use crate::failure::Failure;
use crate::files::{IfExists, Place};
use crate::form::{self, Form};
use crate::secret::SecretKey;

/// Writes the public keys of a keyring, with their ids and times, for a gateway with "serve": ["documents"].
///
/// Such a gateway publishes what the gateways with the private keys sign with. Give it the result of each rotation. The result
/// holds no secret: it is base64 on one line, and is not sealed.
#[derive(Args)]
pub struct Public {
    /// The keyring in force; - is standard input
    file: Place,
    #[command(flatten)]
    ahead: PublishAhead,
    /// The file to write; standard output unless given
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    output: Place,
    /// Write the manifest of this Secret, as kubectl apply takes it, in place of the keyring alone
    #[arg(long, value_name = "NAMESPACE/NAME/KEY")]
    kubernetes_secret: Option<SecretKey>,
}

impl Public {
    pub fn run(&self, now: u64) -> Result<(), Failure> {
        if self.output.replaces(&self.file)? {
            let message = "the result would replace the private keys: give another file by -o";
            return Err(Failure::Unusable(message.into()));
        }
        let sealing_keys = form::sealing_keys()?;
        let source = self.file.source();
        let text = self.file.read()?;
        let opened = form::open(&source, &text, sealing_keys.as_ref())?;
        let keyring = super::parse(&source, &opened.plain, true, self.ahead.publish_ahead, now)?;
        let decoded = document::without_base64(&opened.plain)?;
        let mut document = KeyringDocument::read(&decoded, &keyring)?;
        for (place, entry) in document.keys.iter_mut().enumerate() {
            let (kid, key) = keyring.key(place).ok_or_else(unreadable)?;
            let public = Document::try_from(key.spki_der()).map_err(|_| unreadable())?;
            entry.kid = Some(kid.into());
            entry.private_key = None;
            entry.public_key = Some(public.to_pem("PUBLIC KEY", LineEnding::LF).map_err(|_| unreadable())?);
        }
        let mut public = Form::Base64.write(&document, None)?;
        // A gateway for documents alone has to take it.
        super::parse("the public keyring", &public.text, false, self.ahead.publish_ahead, now)?;
        public.hides_private_keys = true;
        let written = self.kubernetes_secret.as_ref().map(|secret| secret.manifest(&public, None));
        self.output.write(written.as_ref().unwrap_or(&public), IfExists::Replace)
    }
}

fn unreadable() -> Failure {
    Failure::Refused("the keyring has a key that cannot be written as a public one".into())
}
