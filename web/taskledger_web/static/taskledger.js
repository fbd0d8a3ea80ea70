// What script adds to pages that work without it. Each module finds what it needs on the page and does nothing where it is not.
import { keys } from "./keys.js";
import { live } from "./live.js";
import { small } from "./small.js";

small();
keys();
live();
