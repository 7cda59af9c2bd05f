//! The page that asks whoever is signed in whether an app may sign in as him: where it is.

use pages::Form;

/// Its path.
pub(crate) const FOR_APP: &str = "/_yakuba/sign-in-for-app";

/// The same for an app of this URI.
pub(crate) fn for_app(uri: &str) -> String {
    format!("{FOR_APP}?redirectUrl={}", Form::escape(uri))
}
