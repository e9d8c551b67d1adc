/** A proxy under measurement tells what it used: processor time since it was last asked, and memory. */
export function answerUsage(): void {
  let before = process.cpuUsage();
  process.on('message', (ask: string) => {
    if (ask === 'cpu') {
      const used = process.cpuUsage(before);
      before = process.cpuUsage();
      process.send?.({ cpuMicros: used.user + used.system });
    } else if (ask === 'memory') {
      globalThis.gc?.();
      process.send?.({ rss: process.memoryUsage().rss });
    }
  });
  process.on('disconnect', () => process.exit(0));
}
