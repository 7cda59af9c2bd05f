//! The kit for pages that people open in a browser: one look, two languages, sessions, forms.
//!
//! Pages are made on the server and need no script. A handler takes a [`Visit`], which knows who
//! visits and in which language, and answers with a [`Page`] or a redirect:
//!
//! ```ignore
//! async fn show(api: Arc<Api>, call: RawCall<Open>) -> Result<Response, ApiError> {
//!     api.pages.answer(call, async |visit| {
//!         let browser = visit.signed_in()?;
//!         let title = visit.say("わたしの端末", "My devices");
//!         Ok(visit.page(Page::new(title, html! { p { (browser.user_id) } })))
//!     }).await
//! }
//! ```
//!
//! What every page keeps: nothing is loaded from elsewhere, nothing runs that the page did not name
//! by its hash, no other site shows it in a frame, and no cache keeps it ([`Page`]). A form that
//! changes something carries a token that only this browser was given ([`Visit::form`]). Whatever is
//! put into markup is escaped by `maud`.
//!
//! Whoever makes pages depends on `maud` as well, which its macro demands.
//!
//! Reading order: [`Pages`], [`Visit`], [`Page`], [`Form`], [`PageError`], `parts`.

mod cookies;
mod error;
mod form;
mod kept;
mod language;
mod look;
mod page;
mod parts;
mod routes;
#[cfg(test)]
mod tests;
mod upload;
mod visit;

pub use maud::{Markup, PreEscaped, html};

pub use error::PageError;
pub use form::{BadForm, Form};
pub use language::Language;
pub use page::Page;
pub use parts::{field, link, of_password, password_field, table, text};
pub use routes::routes;
pub use upload::{Upload, UploadedFile};
pub use visit::{Door, Pages, Visit};
