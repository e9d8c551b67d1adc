/**
 * What is run inside of pages, as text: nothing from outside of a function is there. What they find is as little to be trusted as the
 * page, which may be of any size: so it is cut before it is sent.
 */

declare const document: PageElement & { readonly title: string; readonly documentElement: PageElement };

interface PageElement {
  readonly id: string;
  readonly localName: string;
  readonly innerText?: string;
  readonly scrollHeight: number;
  readonly shadowRoot: PageElement | null;
  readonly childNodes: Iterable<{ readonly nodeType: number; readonly length: number }>;
  readonly textContent: string | null;
  readonly baseURI: string;
  readonly parentElement: PageElement | null;
  readonly children: Iterable<PageElement>;
  getAttribute(name: string): string | null;
  querySelector(selector: string): PageElement | null;
  querySelectorAll(selector: string): Iterable<PageElement>;
}

interface Field extends PageElement {
  readonly type: string;
  readonly name: string;
  readonly value: string;
  readonly required?: boolean;
  readonly disabled: boolean;
  readonly checked?: boolean;
  readonly form: PageElement | null;
  readonly labels: ArrayLike<PageElement> | null;
  readonly options?: Iterable<{ readonly label: string }>;
}

export function readTitle(most: number): string {
  return document.title.slice(0, most);
}

export function readHeight(): number {
  return document.documentElement.scrollHeight;
}

/** Whether an outline of it would be longer, as far as that can be told without making one. */
export function isLonger(most: number): boolean {
  let length = 0;
  const roots: PageElement[] = [document];
  for (let root = roots.pop(); root !== undefined; root = roots.pop()) {
    for (const each of root.querySelectorAll('*')) {
      // a line, with its name
      length += 20 + Math.min(each.getAttribute('aria-label')?.length ?? 0, 1000);
      length += (each.getAttribute('href') ?? each.getAttribute('placeholder') ?? '').length;
      const { value } = each as Field;
      if (typeof value === 'string') length += value.length;
      if (each.localName !== 'script' && each.localName !== 'style')
        for (const node of each.childNodes) if (node.nodeType === 3) length += node.length;
      if (each.shadowRoot !== null) roots.push(each.shadowRoot);
      if (length > most) return true;
    }
  }
  return false;
}

/** Of the first element that the selector names; undefined where there is none. */
export function readText(selector: string, most: number): string | undefined {
  const element = document.querySelector(selector);
  return element === null ? undefined : (element.innerText ?? element.textContent ?? '').slice(0, most);
}

export function readLinks(selector: string, most: number): { readonly text: string; readonly url: string }[] | undefined {
  const root = document.querySelector(selector);
  if (root === null) return undefined;
  return [...root.querySelectorAll('a[href]')].slice(0, most).map((each) => {
    const href = each.getAttribute('href') ?? '';
    return {
      text: (each.innerText || each.getAttribute('aria-label') || '').trim().slice(0, 200),
      url: (URL.canParse(href, each.baseURI) ? new URL(href, each.baseURI).href : href).slice(0, 2000),
    };
  });
}

/** What is in a password's field is not told. */
export function readForms(selector: string, most: number): unknown[] | undefined {
  const root = document.querySelector(selector);
  if (root === null) return undefined;
  let options = 10_000;
  const short = (text: string | null | undefined): string | undefined => (text ?? '').trim().slice(0, 200) || undefined;
  const selectorOf = (element: PageElement): string => {
    const parts: string[] = [];
    for (let each = element; each.parentElement !== null; each = each.parentElement) {
      // a form's own id may be hidden behind a field of that name
      const id = each.getAttribute('id');
      if (id !== null && /^[A-Za-z][\w-]*$/.test(id)) return [`#${id}`, ...parts].join(' > ');
      parts.unshift(`${each.localName}:nth-child(${[...each.parentElement.children].indexOf(each) + 1})`);
    }
    return ['html', ...parts].join(' > ');
  };
  const optionsOf = (all: Iterable<{ readonly label: string }>): string[] => {
    const first = [...all].slice(0, Math.min(100, options)).map(({ label }) => label.slice(0, 200));
    options -= first.length;
    return first;
  };
  const addressOf = (form: PageElement): string => {
    const action = form.getAttribute('action') ?? '';
    return (URL.canParse(action, form.baseURI) ? new URL(action, form.baseURI).href : action).slice(0, 2000);
  };
  const describe = (field: Field): unknown => ({
    selector: selectorOf(field),
    type: field.type,
    name: short(field.name),
    label: short(field.labels?.[0]?.innerText ?? field.getAttribute('aria-label') ?? field.getAttribute('placeholder') ?? field.innerText),
    required: field.required || undefined,
    disabled: field.disabled || undefined,
    checked: field.type === 'checkbox' || field.type === 'radio' ? field.checked : undefined,
    value: field.type === 'password' || field.localName === 'button' ? undefined : short(field.value),
    options: field.options === undefined ? undefined : optionsOf(field.options),
  });
  const fields = [...root.querySelectorAll('input:not([type=hidden]), select, textarea, button')].slice(0, most) as Field[];
  const forms = new Map<PageElement | null, Field[]>();
  for (const field of fields) forms.set(field.form, [...(forms.get(field.form) ?? []), field]);
  return [...forms].map(([form, inside]) => ({
    ...(form === null
      ? {}
      : {
          action: addressOf(form),
          method: (form.getAttribute('method') ?? 'get').toUpperCase(),
          selector: selectorOf(form),
        }),
    fields: inside.map(describe),
  }));
}
