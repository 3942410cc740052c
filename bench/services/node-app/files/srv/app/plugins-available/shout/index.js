"use strict";

/** Turns a text to capitals. */
module.exports = (text) => text.toUpperCase();
