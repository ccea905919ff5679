//! wip
#![allow(missing_docs, unused)]
use std::marker::PhantomData;
pub struct Fields<'a>(PhantomData<&'a ()>);
pub struct Number;
pub struct Flag;
pub struct Choice<T>(PhantomData<T>);
pub struct Increasing;
impl<'a> Fields<'a> {
    pub fn number(&mut self, key: &'static str) -> Number { Number }
    pub fn flag(&mut self, key: &'static str) -> Flag { Flag }
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Choice<T> { Choice(PhantomData) }
    pub fn increasing(&mut self, key: &'static str) -> Increasing { Increasing }
}
impl Number {
    pub fn above(self, _: f64) -> Self { self }
    pub fn at_least(self, _: f64) -> Self { self }
    pub fn below(self, _: f64) -> Self { self }
    pub fn at_most(self, _: f64) -> Self { self }
    pub fn or(self, default: f64) -> f64 { default }
    pub fn required(self) -> f64 { todo!() }
}
impl Flag { pub fn or(self, default: bool) -> bool { default } }
impl<T> Choice<T> { pub fn or(self, default: T) -> T { default } }
impl Increasing { pub fn required(self) -> Vec<u32> { todo!() } }
