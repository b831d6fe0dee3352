//! Amounts: whole minor units and a currency, never a float.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in minor units (fen, cents) of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units; negative only for corrections.
    pub minor: i64,
    /// The currency whose minor units are counted.
    pub currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} minor units", self.minor, self.currency)
    }
}

/// An ISO 4217 code: three upper-case letters, from the list of currencies in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The yuan, in which WeChat Pay and Alipay speak where they name no currency.
    pub const CNY: Self = Self(*b"CNY");

    /// Reads a code.
    ///
    /// # Errors
    /// [`UnknownCurrency`] for anything but a code of the ISO 4217 list.
    pub fn parse(text: &str) -> Result<Self, UnknownCurrency> {
        let unknown = || UnknownCurrency(text.chars().take(8).collect());
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| unknown())?;
        if CODES.split_ascii_whitespace().any(|known| known.as_bytes() == code) {
            Ok(Self(code))
        } else {
            Err(unknown())
        }
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// Decimal digits between the major and the minor unit, after ISO 4217.
    #[must_use]
    pub fn digits(self) -> u32 {
        let listed =
            |list: &str| list.split_ascii_whitespace().any(|known| known.as_bytes() == self.0);
        if listed(NO_DIGITS) {
            0
        } else if listed(THREE_DIGITS) {
            3
        } else {
            2
        }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

/// A text that is no currency in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a currency, expected an ISO 4217 code such as CNY")]
pub struct UnknownCurrency(String);

/// Reads a decimal text such as `19.99` as minor units, exactly.
///
/// Takes digits with at most `digits` decimals; no sign, no exponent, no blank. Alipay writes
/// amounts in yuan this way.
///
/// # Errors
/// [`BadDecimal`] for any other text or a value past `i64`.
pub fn parse_decimal(text: &str, digits: u32) -> Result<i64, BadDecimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let has_dot = whole.len() != text.len();
    let width = usize::try_from(digits).map_err(|_| BadDecimal { digits })?;
    if whole.is_empty()
        || !all_digits(whole)
        || !all_digits(fraction)
        || (has_dot && fraction.is_empty())
        || fraction.len() > width
    {
        return Err(BadDecimal { digits });
    }
    format!("{whole}{fraction:0<width$}").parse().map_err(|_| BadDecimal { digits })
}

/// Writes minor units as a decimal text with exactly `digits` decimals.
#[must_use]
pub fn format_decimal(minor: i64, digits: u32) -> String {
    let width = usize::try_from(digits).unwrap_or(0);
    if width == 0 {
        return minor.to_string();
    }
    let sign = if minor < 0 { "-" } else { "" };
    let padded = format!("{:0>filled$}", minor.unsigned_abs(), filled = width.saturating_add(1));
    let (whole, fraction) = padded.split_at(padded.len().saturating_sub(width));
    format!("{sign}{whole}.{fraction}")
}

/// A text that is no exact decimal amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("amount is not a decimal with at most {digits} places")]
pub struct BadDecimal {
    digits: u32,
}

/// ISO 4217 alphabetic codes of national currencies in use (list one, read 2026-11-22), without
/// funds, metals and test codes.
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL \
    BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR \
    FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY \
    KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU \
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD \
    RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY \
    TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// Codes whose minor unit is the major unit.
const NO_DIGITS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";

/// Codes with a thousand minor units.
const THREE_DIGITS: &str = "BHD IQD JOD KWD LYD OMR TND";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Currency, format_decimal, parse_decimal};

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse_decimal(text, 2).ok(), expected, "{text:?}");
    }

    #[test]
    fn exact_decimals_become_minor_units() {
        check("19.99", Some(1999));
        check("0.01", Some(1));
        check("88", Some(8800));
        check("1.5", Some(150));
        check("007.00", Some(700));
        check("92233720368547758.07", Some(i64::MAX));
    }

    #[test]
    fn inexact_or_strange_texts_are_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1.999",
            "-1.00",
            "+1",
            "1e2",
            " 1",
            "1 ",
            "1,00",
            "１.00",
            "92233720368547758.08",
            "NaN",
            "0x10",
            "1.0.0",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn only_listed_upper_case_codes_are_currencies() {
        assert!(Currency::parse("CNY").is_ok());
        for text in ["cny", "CN", "CNYX", "", "ABC", "人"] {
            assert!(Currency::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(minor in 0..i64::MAX, digits in 0u32..4) {
            prop_assert_eq!(parse_decimal(&format_decimal(minor, digits), digits), Ok(minor));
        }
    }
}
