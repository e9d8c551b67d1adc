/**
 * Functions of `in-page.ts` in a world of their own inside of a page: there they have the document, and nothing of what the page's own
 * scripts have put in place of the language's. So what they cut is cut before it comes over.
 */
import type { CDPSession, Frame, Page } from 'playwright-core';

interface FrameTree {
  readonly frame: { readonly id: string };
  readonly childFrames?: readonly FrameTree[];
}

/** @param run gets `args`, which are JSON, and has nothing of what is around it */
export async function runApart<A extends readonly unknown[], R>(page: Page, run: (...args: A) => R, ...args: A): Promise<R> {
  return (await withSession(page, (cdp, { frame }) => evaluate(cdp, frame.id, run, args))) as R;
}

/** In each of the page's frames that has a document; one in a process of its own that is not there is left out. */
export async function runApartInFrames<A extends readonly unknown[], R>(page: Page, run: (...args: A) => R, ...args: A): Promise<R[]> {
  const processes = [page, ...page.frames().filter((frame) => frame !== page.mainFrame())];
  const results = await Promise.all(
    processes.map((each) =>
      withSession(each, (cdp, tree) => Promise.all(framesOf(tree).map((id) => evaluate(cdp, id, run, args).catch(() => undefined)))).catch(
        (error: unknown) => {
          if (each === page) throw error;
          return [];
        },
      ),
    ),
  );
  return results.flat().filter((each) => each !== undefined) as R[];
}

/** Whether there is a page to go back to: the first of each session is an empty one. */
export function hasPageBefore(page: Page): Promise<boolean> {
  return withSession(page, async (cdp) => {
    const { currentIndex, entries } = await cdp.send('Page.getNavigationHistory');
    const before = entries[currentIndex - 1];
    return before !== undefined && before.url !== 'about:blank';
  });
}

async function withSession<T>(of: Page | Frame, work: (cdp: CDPSession, tree: FrameTree) => Promise<T>): Promise<T> {
  const page = 'mainFrame' in of ? of : of.page();
  // of a frame: only where it has a process of its own
  const cdp = await page.context().newCDPSession(of);
  try {
    return await work(cdp, (await cdp.send('Page.getFrameTree')).frameTree);
  } finally {
    void cdp.detach().catch(() => undefined);
  }
}

async function evaluate<A extends readonly unknown[], R>(
  cdp: CDPSession,
  frameId: string,
  run: (...args: A) => R,
  args: A,
): Promise<R | undefined> {
  const { executionContextId: contextId } = await cdp.send('Page.createIsolatedWorld', { frameId, worldName: 'reader' });
  const expression = `(${run.toString()})(...${JSON.stringify(args)})`;
  const { result, exceptionDetails } = await cdp.send('Runtime.evaluate', { contextId, expression, returnByValue: true });
  if (exceptionDetails !== undefined) throw new Error(`a function in the page failed: ${(result.description ?? '').slice(0, 300)}`);
  return result.value as R;
}

const framesOf = ({ frame, childFrames = [] }: FrameTree): string[] => [frame.id, ...childFrames.flatMap(framesOf)];
