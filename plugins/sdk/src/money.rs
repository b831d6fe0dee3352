//! Amounts: whole minor units and a currency, never a float.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in minor units (fen, cents) of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units; negative only for corrections.
    pub minor: i64,
    /// ISO 4217, upper case, such as `CNY`.
    pub currency: String,
}

impl Money {
    /// Makes an amount.
    #[must_use]
    pub fn new(minor: i64, currency: impl Into<String>) -> Self {
        Self { minor, currency: currency.into() }
    }

    /// Adds an amount of the same currency.
    ///
    /// # Errors
    /// [`MoneyError`] where the currencies differ or the sum does not fit.
    pub fn plus(&self, other: &Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    /// Takes away an amount of the same currency.
    ///
    /// # Errors
    /// [`MoneyError`] where the currencies differ or the difference does not fit.
    pub fn minus(&self, other: &Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    fn combine(
        &self,
        other: &Self,
        operation: fn(i64, i64) -> Option<i64>,
    ) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Currencies {
                found: other.currency.clone(),
                expected: self.currency.clone(),
            });
        }
        let minor = operation(self.minor, other.minor).ok_or(MoneyError::Range)?;
        Ok(Self { minor, currency: self.currency.clone() })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} minor units", self.minor, self.currency)
    }
}

/// Why two amounts could not be combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoneyError {
    /// The amounts are in two currencies.
    Currencies {
        /// The currency of the second amount.
        found: String,
        /// The currency of the first amount.
        expected: String,
    },
    /// The result is past 64 bits.
    Range,
}

impl fmt::Display for MoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Currencies { found, expected } => {
                write!(f, "amount is in {found}, expected {expected}")
            }
            Self::Range => f.write_str("amount is past 64 bits"),
        }
    }
}

impl std::error::Error for MoneyError {}

#[cfg(test)]
mod tests {
    use super::{Money, MoneyError};

    #[test]
    fn amounts_of_one_currency_add_and_subtract_exactly() {
        let price = Money::new(1_999, "CNY");
        assert_eq!(price.plus(&Money::new(1, "CNY")), Ok(Money::new(2_000, "CNY")));
        assert_eq!(price.minus(&Money::new(2_000, "CNY")), Ok(Money::new(-1, "CNY")));
    }

    #[test]
    fn amounts_of_two_currencies_never_mix() {
        let mixed = Money::new(1, "CNY").plus(&Money::new(1, "USD"));
        assert!(matches!(mixed, Err(MoneyError::Currencies { .. })));
    }

    #[test]
    fn a_sum_past_the_limit_is_an_error_and_not_a_wrapped_amount() {
        let most = Money::new(i64::MAX, "CNY");
        assert_eq!(most.plus(&Money::new(1, "CNY")), Err(MoneyError::Range));
        assert_eq!(
            Money::new(i64::MIN, "CNY").minus(&Money::new(1, "CNY")),
            Err(MoneyError::Range)
        );
    }
}
