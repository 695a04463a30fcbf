//! Why an answer is passed on uncached, or a request refused. Every one of them is counted under its name.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every reason, so that its counter exists before it is needed.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in metrics, records and `explain`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why nothing is looked up or stored. The client gets the origin's own answer.
    PassReason {
        /// No rule names this path. The usual case, and the default.
        NoRule = "no_rule",
        /// A rule names the path, but not this method.
        Method = "method",
        /// The request asks for another protocol on this connection.
        Upgrade = "upgrade",
        /// A public rule, and the client showed an `Authorization`: the answer may be theirs alone.
        Authorization = "authorization",
        /// The query holds a name that the rule does not list.
        QueryUnlisted = "query_unlisted",
        /// The query holds more pairs than any page of ours asks for.
        QueryTooMany = "query_too_many",
        /// A part of the path that goes into a tag is no plain id.
        PathParameter = "path_parameter",
        /// The client asks that the answer be not stored, or its `Cache-Control` cannot be read.
        RequestNoStore = "request_no_store",
        /// A header that the rule varies on is too long to be part of a key.
        VaryTooLong = "vary_too_long",

        /// The grant is for another scope than the rule's.
        ScopeMismatch = "scope_mismatch",
        /// The status is not 200.
        Status = "status",
        /// The answer sets a cookie.
        SetCookie = "set_cookie",
        /// The origin did not say `X-Edge-Cache-Scope`.
        ConsentMissing = "consent_missing",
        /// The origin named another scope than the rule, or several.
        ConsentOther = "consent_other",
        /// `Cache-Control` or `CDN-Cache-Control` cannot be read, or says one thing twice.
        CacheControlInvalid = "cache_control_invalid",
        /// The origin forbids storing.
        NoStore = "no_store",
        /// The answer is for one person.
        Private = "private",
        /// The origin wants to be asked each time.
        NoCache = "no_cache",
        /// The answer depends on more than the request's headers.
        VaryStar = "vary_star",
        /// The answer depends on a header that the rule does not list.
        VaryUnlisted = "vary_unlisted",
        /// `Vary` is no list of header names.
        VaryInvalid = "vary_invalid",
        /// The answer is meant for one web origin.
        Cors = "cors",
        /// The content type is not one of the rule's.
        ContentType = "content_type",
        /// The bytes are encoded, although plain ones were asked for.
        ContentEncoding = "content_encoding",
        /// The bytes are a part of the answer.
        ContentRange = "content_range",
        /// The origin gave no lifetime.
        NoLifetime = "no_lifetime",
        /// `Expires`, `Date` or `Age` cannot be read, or is there twice.
        TimeInvalid = "time_invalid",
        /// The lifetime was over when the answer came.
        AlreadyStale = "already_stale",
        /// More tags than an entry may have, or one that is no tag: it could not be purged by all of them.
        TagsInvalid = "tags_invalid",
    }
}

reasons! {
    /// Why a request for a cached read is answered with 400: edge and origin could read it differently.
    RefuseReason {
        /// The path reads as a cached one only after a guess at encoded slashes, dots, semicolons and the like.
        PathAmbiguous = "path_ambiguous",
        /// The query has a broken percent triplet, a control character or bytes that are no text.
        QueryMalformed = "query_malformed",
        /// A GET or HEAD with a body.
        Body = "body",
    }
}
