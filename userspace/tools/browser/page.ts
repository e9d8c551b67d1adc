/** What a page is, in words: its outline with short names of its elements, its text, links and forms. What it says was written by others. */
import { ToolFailure } from '@centaur/sdk';
import type { Locator, Page } from 'playwright-core';
import { compact } from '../_shared/results.ts';
import { runApart, runApartInFrames } from './apart.ts';
import { isLonger, readForms, readLinks, readText, readTitle } from './in-page.ts';
import type { Session } from './sessions.ts';

/** Of what a page says in one go; there is a limit on what comes over to this process. */
const TEXT_MOST = 2_000_000;
const ITEMS_MOST = 2000;
const TITLE_MOST = 500;
const URL_MOST = 2000;
const FRAMES_MOST = 100;
const OUTLINE_FIRST = 6000;
const LOADED_MS = 5000;
/** A frame that was not allowed has none, and is waited for; then the outline comes without it. */
const OUTLINE_MS = 4000;

/** What a caller sees after each step. */
export async function viewOf(session: Session, status?: number): Promise<Record<string, unknown>> {
  const { page } = session;
  const loaded = await page.waitForLoadState('load', { timeout: LOADED_MS }).then(
    () => true,
    () => false,
  );
  const outline = await outlineOf(page).catch((error: unknown) =>
    error instanceof ToolFailure ? `(${error.message})` : '(The outline took too long. "read" has the text.)',
  );
  const { dialogs, dialogsInAll, refused, download } = session.events();
  return {
    ...(await nameOfPage(page)),
    ...compact({
      status,
      loading: loaded ? undefined : true,
      dialogs: dialogs.length === 0 ? undefined : dialogs,
      dialogs_closed: dialogsInAll > dialogs.length ? dialogsInAll : undefined,
      refused: refused.length === 0 ? undefined : refused.map(({ host, code }) => `${host} (${code})`),
      download_refused: download,
    }),
    ...slice(outline, 0, OUTLINE_FIRST),
  };
}

export async function nameOfPage(page: Page): Promise<{ readonly url: string; readonly title: string }> {
  return { url: urlOf(page), title: await runApart(page, readTitle, TITLE_MOST) };
}

export const urlOf = (page: Page): string => page.url().slice(0, URL_MOST);

/**
 * Roles, names, states and texts, a line each, nested, with `[ref=e12]` where something can be done.
 *
 * @throws ToolFailure TOO_LARGE
 */
export async function outlineOf(page: Page): Promise<string> {
  if (page.frames().length > FRAMES_MOST || (await isOutlineLonger(page, TEXT_MOST)))
    throw new ToolFailure('TOO_LARGE', 'The page is too large for an outline. "read" has its text, its links and its forms.');
  return (await page.ariaSnapshot({ mode: 'ai', timeout: OUTLINE_MS })).slice(0, TEXT_MOST);
}

/** A piece of a text that says where the next begins. */
export function slice(text: string, offset: number, limit: number): Record<string, unknown> {
  const end = offset + limit;
  return { text: text.slice(offset, end), ...(end < text.length ? { next_offset: end, characters: text.length } : {}) };
}

/** What has not answered in time has no outline either. */
function isOutlineLonger(page: Page, most: number): Promise<boolean> {
  return Promise.race([
    runApartInFrames(page, isLonger, most).then((each) => each.includes(true)),
    new Promise<boolean>((resolve) => setTimeout(() => resolve(false), OUTLINE_MS).unref()),
  ]);
}

/** @throws ToolFailure NOT_FOUND */
export async function textOf(page: Page, selector: string): Promise<string> {
  const text = await part(page, selector, readText, TEXT_MOST);
  return text.replaceAll(/\n{3,}/g, '\n\n').trim();
}

export function linksOf(page: Page, selector: string): Promise<readonly unknown[]> {
  return part(page, selector, readLinks, ITEMS_MOST);
}

/** Fields by form, each with a selector that finds it again. */
export function formsOf(page: Page, selector: string): Promise<readonly unknown[]> {
  return part(page, selector, readForms, ITEMS_MOST);
}

async function part<R>(page: Page, selector: string, read: (selector: string, most: number) => R | undefined, most: number): Promise<R> {
  const found = await runApart(page, read, selector, most).catch((error: Error) => {
    if (!error.message.includes('not a valid selector')) throw error;
    throw new ToolFailure('BAD_SELECTOR', `${selector} is no selector in CSS.`, { cause: error });
  });
  if (found === undefined) throw new ToolFailure('NOT_FOUND', `There is no element ${selector} on the page.`);
  return found;
}

/** @throws ToolFailure BAD_SELECTOR */
export async function countOf(found: Locator, wanted: string): Promise<number> {
  try {
    return await found.count();
  } catch (error) {
    const [said = ''] = (error as Error).message.split('\n');
    if (!/selector|parsing|Unexpected token|not a valid/i.test(said)) throw error;
    throw new ToolFailure('BAD_SELECTOR', `${wanted} is no selector: ${said.slice(0, 300)}`, { cause: error });
  }
}
