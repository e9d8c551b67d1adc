/** Exit codes of whoever does not end with 0: the tool failed; it was called wrongly; it was denied, waits for an approval, or cannot be reached. */
export const FAILED = 1;
export const USAGE = 2;
export const REFUSED = 3;
export type ExitCode = typeof FAILED | typeof USAGE | typeof REFUSED;

/** What ends this program, in words for whoever called it. */
export class Refusal extends Error {
  readonly exitCode: ExitCode;
  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}
