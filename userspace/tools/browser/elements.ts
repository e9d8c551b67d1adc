/** Which element of a page is meant: by the short name that an outline gave it, by CSS, or by the words on it. */
import { ToolFailure } from '@centaur/sdk';
import type { Locator, Page } from 'playwright-core';
import * as z from 'zod';
import { countOf, outlineOf } from './page.ts';

export const target = {
  ref: z
    .string()
    .regex(/^(?:f\d+)?e\d+$/)
    .optional()
    .describe('Short name from the outline, such as e12'),
  selector: z.string().min(1).max(1000).optional().describe('CSS'),
  text: z.string().min(1).max(500).optional().describe('Words on it, or its label'),
};

export interface Target {
  readonly ref?: string | undefined;
  readonly selector?: string | undefined;
  readonly text?: string | undefined;
}

export const oneTarget = ({ ref, selector, text }: Target): boolean =>
  [ref, selector, text].filter((each) => each !== undefined).length === 1;
export const ONE_TARGET = { path: ['ref'], message: 'name the element by one of ref, selector and text' };

const NEAREST_MOST = 5;
const ROLES = {
  click: ['button', 'link', 'menuitem', 'tab', 'checkbox', 'radio', 'option', 'switch', 'treeitem', 'combobox'],
  fill: ['textbox', 'searchbox', 'combobox', 'spinbutton', 'checkbox', 'radio', 'switch', 'listbox', 'slider'],
} as const;

/** @throws ToolFailure NOT_FOUND with what is most like it; AMBIGUOUS with what it may be */
export async function findElement(page: Page, wanted: Target, use: keyof typeof ROLES): Promise<Locator> {
  for (const locator of candidates(page, wanted, use)) {
    const count = await countOf(locator, nameOf(wanted));
    if (count === 1) return locator;
    if (count === 0) continue;
    const seen = locator.filter({ visible: true });
    if ((await seen.count()) === 1) return seen;
    const list = await nearest(page, wanted);
    throw new ToolFailure('AMBIGUOUS', `${count} elements are ${nameOf(wanted)}. Name one of them by its ref.${list}`);
  }
  const stale = wanted.ref === undefined ? '' : ' The page has changed since: the outline below is of now, and "read" gives all of it.';
  throw new ToolFailure('NOT_FOUND', `There is no ${nameOf(wanted)} on the page.${stale}${await nearest(page, wanted)}`);
}

export function nameOf({ ref, selector, text }: Target): string {
  return ref !== undefined ? `element ${ref}` : selector !== undefined ? `element ${selector}` : `element with the text "${text}"`;
}

function candidates(page: Page, { ref, selector, text = '' }: Target, use: keyof typeof ROLES): readonly Locator[] {
  if (ref !== undefined) return [page.getByRef(ref)];
  if (selector !== undefined) return [page.locator(`css=${selector}`)];
  const roles = (exact: boolean): Locator => {
    const [first, ...others] = ROLES[use].map((role) => page.getByRole(role, { name: text, exact }));
    return others.reduce((all, each) => all.or(each), first as Locator);
  };
  const more =
    use === 'fill' ? [page.getByLabel(text), page.getByPlaceholder(text)] : [page.getByText(text, { exact: true }), page.getByText(text)];
  return [roles(true), roles(false), ...more];
}

/** The lines of the outline that have the most of the words in them. */
async function nearest(page: Page, wanted: Target): Promise<string> {
  const outline = await outlineOf(page).catch(() => '');
  const words = new Set(wordsIn(wanted.text ?? wanted.selector ?? ''));
  const lines = outline
    .split('\n')
    .map((line) => line.trim().replace(/^- /, ''))
    .filter((line) =>
      /^(?:button|link|textbox|searchbox|combobox|checkbox|radio|menuitem|tab|option|switch|spinbutton)\b.*\[ref=/.test(line),
    )
    .map((line, at) => ({ line, at, likeness: likeness(words, wordsIn(line)) }))
    .toSorted((a, b) => b.likeness - a.likeness || a.at - b.at)
    .slice(0, NEAREST_MOST)
    .map(({ line }) => line.slice(0, 200));
  return lines.length === 0 ? '' : ` Nearest: ${lines.join('; ')}`;
}

function likeness(words: ReadonlySet<string>, line: readonly string[]): number {
  let sum = 0;
  for (const word of words) {
    if (line.includes(word)) sum += 2;
    else if (word.length > 2 && line.some((each) => each.startsWith(word.slice(0, 3)))) sum += 1;
  }
  return sum;
}

function wordsIn(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}
