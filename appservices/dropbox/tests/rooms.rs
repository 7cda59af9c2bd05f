//! The bot's own process beside a server, and a browser's requests.
