/** Notes what does not hold, and goes on: a proof that fails says all that is wrong with it. @returns whether it holds */
export type Expect = (holds: boolean, problem: string) => boolean;

export function createExpect(): { readonly problems: string[]; readonly expect: Expect } {
  const problems: string[] = [];
  return {
    problems,
    expect(holds, problem) {
      if (!holds) problems.push(problem);
      return holds;
    },
  };
}
