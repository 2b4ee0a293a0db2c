export { type ConformanceOptions, storeConformance } from "./conformance/suite.js";
