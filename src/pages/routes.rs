//! What belongs to all pages: the look, the language, signing out.

use std::sync::Arc;

use web::{ApiError, Body, HeaderValue, Method, Open, RawCall, Response, Routes, header};

use crate::{
    Language, PageError, Pages, cookies,
    look::{CSS, CSS_PATH, ICON, ICON_PATH},
};

/// The routes that all pages share.
pub fn routes(pages: Arc<Pages>) -> Routes<Pages> {
    Routes::new(pages)
        .raw(Method::GET, &CSS_PATH, look)
        .raw(Method::GET, ICON_PATH, icon)
        .raw(Method::GET, "/_yakuba/language/{language}", choose_language)
        .raw(Method::POST, "/_yakuba/sign-out", sign_out)
}

/// The style sheet.
async fn look(_pages: Arc<Pages>, _call: RawCall<Open>) -> Result<Response, ApiError> {
    Ok(file(CSS, "text/css; charset=utf-8", "public, max-age=31536000, immutable"))
}

/// The icon.
async fn icon(_pages: Arc<Pages>, _call: RawCall<Open>) -> Result<Response, ApiError> {
    Ok(file(ICON, "image/svg+xml", "public, max-age=86400"))
}

fn file(text: &'static str, kind: &'static str, kept: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    // Opened by itself it is a document, and loads and runs nothing.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}

/// Remembers the language in the browser and leads back.
async fn choose_language(pages: Arc<Pages>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |visit: crate::Visit| {
        let code: String = visit.call.args.get(0)?;
        let language = Language::of_code(&code).ok_or_else(PageError::not_found)?;
        let query = visit.query()?;
        let mut response = visit.redirect(visit.way_back(query.find("back")));
        if let Some(cookie) = cookies::set_language(language.code()) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    };
    pages.answer(call, answer).await
}

/// Signs whoever is signed in out of the pages.
async fn sign_out(pages: Arc<Pages>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let answer = async |mut visit: crate::Visit| {
        let form = visit.form()?;
        visit.end(&pages).await?;
        Ok(visit.redirect(visit.way_back(form.find("back"))))
    };
    pages.answer(call, answer).await
}
