//! What can be asked to forecast.

use std::fmt;

use clnrm_decide::forecast::models;
use clnrm_decide::{Forecaster, NotEnoughData, StepForecast, Steps, Window, choose};

#[derive(Debug, Clone, Copy)]
pub enum Method {
    /// The whole engine, tournament included.
    Auto,
    /// One model alone.
    Model(&'static dyn Forecaster),
}

impl Method {
    /// The method of that name; spaces may be written as `-` or `_`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace(['-', '_'], " ");
        if name == "auto" {
            return Some(Self::Auto);
        }
        let mut models = models().into_iter();
        models
            .find(|model| model.name().as_str() == name)
            .map(Self::Model)
    }

    pub fn names() -> Vec<String> {
        let models = models().into_iter().map(Self::Model);
        [Self::Auto]
            .into_iter()
            .chain(models)
            .map(|method| method.to_string())
            .collect()
    }

    pub fn forecast(
        self,
        window: &Window,
        steps: &Steps,
    ) -> Result<Vec<StepForecast>, NotEnoughData> {
        match self {
            Self::Auto => choose(window, steps).map(|chosen| chosen.steps),
            Self::Model(model) => model.forecast(window, steps),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Model(model) => f.write_str(&model.name().as_str().replace(' ', "_")),
        }
    }
}
