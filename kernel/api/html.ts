/** Pages of our own: a few words each, which run nothing and load nothing. */
import { createHash } from 'node:crypto';

export interface Page {
  readonly status: number;
  readonly html: string;
  /** Of the style sheet in it; nothing else may style it. */
  readonly style?: string;
  /** Whether it has a form, which is sent here. */
  readonly form?: true;
  readonly cookies?: readonly string[];
}

export function pageResponse({ status, html, style, form, cookies = [] }: Page): Response {
  const sources = style === undefined ? '' : ` style-src 'sha256-${createHash('sha256').update(style).digest('base64')}';`;
  const headers = new Headers({
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none';${sources} base-uri 'none'; form-action ${form ? "'self'" : "'none'"}; frame-ancestors 'none'`,
    'cache-control': 'no-store',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    // without any referrer, a browser says that its form comes from no origin
    'referrer-policy': form ? 'same-origin' : 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
  });
  for (const cookie of cookies) headers.append('set-cookie', cookie);
  return new Response(html, { status, headers });
}

export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
