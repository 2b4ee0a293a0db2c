const { availableParallelism } = require("node:os");

/** @type {import("jest").Config} */
module.exports = {
  // By default, Jest leaves a core free. But the tests wait for engines a third of the time.
  maxWorkers: availableParallelism() + 1,
  testEnvironment: "node",
  testMatch: ["**/__tests__/**/*.test.ts"],
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { parser: { syntax: "typescript" }, target: "es2022" }, module: { type: "commonjs" } },
    ],
  },
  moduleNameMapper: {
    "^express-session-stores$": "<rootDir>/lib/index.ts",
    "^express-session-stores/(?!package)(.*)$": "<rootDir>/lib/$1.ts",
    "^(\\.{1,2}/.*)\\.js$": "$1",
  },
  // The command line and the conformance suite run in their own processes, or as tests.
  collectCoverageFrom: ["lib/**/*.ts", "!lib/cli/**", "!lib/cli.ts"],
  coverageReporters: ["text-summary"],
  // A little below what the whole suite reaches.
  coverageThreshold: { global: { statements: 97, branches: 93, functions: 96, lines: 97 } },
  globalSetup: "./__tests__/helpers/engines/start-engines.ts",
  globalTeardown: "./__tests__/helpers/engines/stop-engines.ts",
  testTimeout: 90_000,
  // Node.js 20 can spin forever when it closes the remaining handles at its end (CleanupHandles). `forceExit` avoids
  // that.
  forceExit: true,
};
