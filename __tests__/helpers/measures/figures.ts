/** Prints a measurement for the README, if the environment variable FIGURES is set. */
export function figure(text: string): void {
  if (process.env.FIGURES) process.stderr.write(`figure: ${text}\n`);
}
