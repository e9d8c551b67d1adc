/** The page of the benchmark of hosts. */
import os from 'node:os';

export function report(
  figures: Readonly<Record<string, number>>,
  { quick, repeat, runs, steps }: { readonly quick: boolean; readonly repeat: number; readonly runs: number; readonly steps: number },
): string {
  const of = (name: string): number => figures[name] ?? Number.NaN;
  const shown = (value: number): string => value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 2 : 0 });
  const floor = of('in_process: steps/s');
  const rows = ['in_process', 'node', 'python', 'node-sandbox', 'python-sandbox'].map((mode) => {
    const rate = of(`${mode}: steps/s`);
    return `| ${mode} | ${shown(rate)} | ${shown(rate / floor)} |`;
  });
  const starts = ['node', 'python'].flatMap((language) => {
    const bare = of(`bare ${language}: start and end, ms`);
    return ['', '-sandbox'].map((place) => {
      const ms = of(`${language}${place}: cold start to first step, ms`);
      return `| ${language}${place} | ${shown(ms)} | ${shown(ms / bare)} | ${shown(of(`${language}${place}: first start, ms`))} |`;
    });
  });
  return `# Benchmark: workflow hosts

\`npm run bench:hosts${quick ? ' -- --quick' : ''}\`, ${os.cpus().length} cores, Node ${process.version}, medians of ${repeat}. The ratios are within the same run.

Steps of ${runs} runs at once, ${steps} each, a function that returns at once. The ratio is to the same workflow in the worker's own process.

| Host | Steps/s | Ratio |
|---|---|---|
${rows.join('\n')}

From a start without any process to the first step's commit, ms. The ratio is to the bare interpreter, which starts and ends in
${shown(of('bare node: start and end, ms'))} ms (Node) and ${shown(of('bare python: start and end, ms'))} ms (Python). An empty sandbox is made ahead, as workers do
after their first start; the last column is that first start, which has to wait for one, and for what is cold besides.

| Host | ms | Ratio | The very first |
|---|---|---|---|
${starts.join('\n')}
`;
}
