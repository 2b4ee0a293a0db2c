import { AnswerBudget } from "../../lib/etcd/response-size.js";

const KB = 1024;
const MINUTE_MS = 60_000;

function budgetAfter(count: number, bytes: number): AnswerBudget {
  const budget = new AnswerBudget();
  for (let seen = 0; seen < count; seen++) budget.note(bytes);
  return budget;
}

afterEach(() => jest.useRealTimers());

it("asks for two records as long as no size is known: two of the largest fit", () => {
  expect(new AnswerBudget().records).toBe(2);
});

it("asks for as many records as it has seen sizes", () => {
  expect(budgetAfter(64, KB).records).toBe(64);
});

it("asks for no more than fit below 4 MiB if the next are much larger than those seen", () => {
  expect(budgetAfter(10_000, KB).records * 35 * KB).toBeLessThan(4 * KB * KB);
});

it.each([100, 500, 1500])("asks for fewer of %d KB", size => {
  const budget = budgetAfter(1000, size * KB);
  expect(budget.records).toBeGreaterThan(0);
  expect(budget.records * size * KB).toBeLessThan(4 * KB * KB);
});

it("asks for one at a time of what fills an answer or more, which a raised limit allows", () => {
  expect(budgetAfter(1000, 3700 * KB).records).toBe(1);
  expect(budgetAfter(1000, 16 * KB * KB).records).toBe(1);
});

it("remembers a large record among small ones for ten minutes at least, and twenty at most", () => {
  jest.useFakeTimers();
  const budget = budgetAfter(100, KB);
  budget.note(1000 * KB);
  for (let seen = 0; seen < 1000; seen++) budget.note(KB);
  expect(budget.records).toBe(3);
  jest.advanceTimersByTime(10 * MINUTE_MS);
  expect(budget.records).toBe(3);
  jest.advanceTimersByTime(10 * MINUTE_MS);
  expect(budget.records).toBeGreaterThan(100);
});

it("begins again with two when an answer was too large after all", () => {
  const budget = budgetAfter(1000, KB);
  budget.tooLarge();
  expect(budget.records).toBe(2);
});
