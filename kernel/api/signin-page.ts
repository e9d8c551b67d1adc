/** The sign-in page and its neighbours: without scripts, without anything from elsewhere, readable on a phone and in the dark. */
import type { SessionUser } from '../users/index.ts';
import { escapeHtml, pageResponse } from './html.ts';

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #59636e; --paper: #f6f7f9; --card: #fff; --line: #c8ced6; --act: #1f5fbf; --on-act: #fff; --bad: #a3271b }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebef; --dim: #a5afba; --paper: #14171b; --card: #1d2126; --line: #49525c; --act: #7fb2ff; --on-act: #10141a; --bad: #ff9c8f }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
main { width: 100%; max-width: 23rem; padding: 1.75rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; overflow-wrap: anywhere }
h1 { margin: 0 0 1rem; font-size: 1.25rem; line-height: 1.3 }
p { margin: 0 0 1rem }
label { display: block; margin: 0 0 1rem; font-size: .875rem; font-weight: 600 }
input { display: block; width: 100%; margin-top: .25rem; padding: .625rem .75rem; font: inherit; font-weight: 400; font-size: 1rem; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: .375rem }
button, a.button { display: block; width: 100%; padding: .625rem 1rem; font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; border: 1px solid var(--act); border-radius: .375rem; background: var(--act); color: var(--on-act) }
a.quiet, button.quiet { background: transparent; color: var(--act) }
:focus-visible { outline: 3px solid var(--act); outline-offset: 2px }
.bad { padding: .625rem .75rem; border: 1px solid var(--bad); border-radius: .375rem; color: var(--bad) }
.dim { color: var(--dim); font-size: .875rem }
.or { display: flex; align-items: center; gap: .75rem; margin: 1.25rem 0; color: var(--dim); font-size: .875rem }
.or::before, .or::after { content: ""; flex: 1; border-top: 1px solid var(--line) }
dl { display: grid; grid-template-columns: auto 1fr; gap: .25rem 1rem; margin: 0 0 1.25rem }
dt { color: var(--dim) }
dd { margin: 0 }
`;

function page(title: string, content: string, head = ''): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">${head}<title>${title} · Centaur</title><style>${STYLE}</style></head>
<body><main><h1>${title}</h1>${content}</main></body></html>
`;
}

export interface SignInForm {
  readonly status: number;
  /** A page of this server, checked. */
  readonly returnTo: string;
  readonly name: string;
  readonly problem: string | undefined;
  /** Whether another password is to be chosen. */
  readonly choose: 'old' | 'new';
  /** Of the provider, where there is one. */
  readonly provider: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

export function signInPage({ status, returnTo, name, problem, choose, provider, headers = {} }: SignInForm): Response {
  const back = escapeHtml(returnTo);
  const said = problem === undefined ? '' : `<p class="bad" role="alert">${escapeHtml(problem)}</p>`;
  const fresh =
    choose === 'new'
      ? '<label>New password<input type="password" name="new_password" autocomplete="new-password" required minlength="12"></label><p class="dim">At least 12 characters; a few words do well.</p>'
      : '';
  const sso =
    provider === undefined
      ? ''
      : `<div class="or">or</div><a class="button quiet" href="/auth/oidc/start?return_to=${escapeHtml(encodeURIComponent(returnTo))}">${escapeHtml(provider)}</a>`;
  const title = choose === 'new' ? 'Choose your password' : 'Sign in';
  const form = `<form method="post" action="/signin"><input type="hidden" name="return_to" value="${back}"><input type="hidden" name="action" value="sign-in">
<label>Name<input name="name" value="${escapeHtml(name)}" autocomplete="username" autocapitalize="none" spellcheck="false" required${choose === 'old' ? ' autofocus' : ''}></label>
<label>${choose === 'new' ? 'Password that you were given' : 'Password'}<input type="password" name="password" autocomplete="current-password" required></label>${fresh}
<button type="submit">${choose === 'new' ? 'Choose and sign in' : 'Sign in'}</button></form>`;
  const response = pageResponse({ status, html: page(title, `${said}${form}${sso}`), style: STYLE, form: true });
  for (const [header, value] of Object.entries(headers)) response.headers.set(header, value);
  return response;
}

export function signedInPage(user: SessionUser): Response {
  const roles = user.roles.length === 0 ? '' : `<dt>Gates</dt><dd>${escapeHtml(user.roles.join(', '))}</dd>`;
  const until = new Date(user.expiresAt).toISOString().slice(0, 16).replace('T', ' ');
  const content = `<dl><dt>Name</dt><dd>${escapeHtml(user.name)}</dd><dt>Role</dt><dd>${user.role}</dd>${roles}<dt>Until</dt><dd>${until} UTC</dd></dl>
<form method="post" action="/signin"><input type="hidden" name="action" value="sign-out"><button class="quiet" type="submit">Sign out</button></form>`;
  return pageResponse({ status: 200, html: page(`Signed in as ${escapeHtml(user.displayName)}`, content), style: STYLE, form: true });
}

export function messagePage(of: {
  readonly status: number;
  readonly title: string;
  readonly text: string;
  /** Where the browser goes by itself; undefined: back to the sign-in page, when somebody wants to. */
  readonly goOn: { readonly to: string; readonly label: string } | undefined;
  readonly cookies?: readonly string[];
}): Response {
  const { status, title, text, goOn, cookies = [] } = of;
  const { to, label } = goOn ?? { to: '/signin', label: 'To the sign-in page' };
  const head = goOn === undefined ? '' : `<meta http-equiv="refresh" content="0; url=${escapeHtml(to)}">`;
  const content = `<p>${escapeHtml(text)}</p><a class="button" href="${escapeHtml(to)}">${label}</a>`;
  return pageResponse({ status, html: page(title, content, head), style: STYLE, cookies });
}
