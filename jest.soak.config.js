/**
 * The long forms of tests: `npm run test:soak`, one file after the other.
 *
 * @type {import("jest").Config}
 */
module.exports = {
  ...require("./jest.config.js"),
  testMatch: ["**/__tests__/soak/*.soak.ts"],
  testTimeout: 30 * 60_000,
  maxWorkers: 1,
};
