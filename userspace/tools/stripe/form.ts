/** Stripe's forms: `items[0][price]=price_1`, `metadata[order]=7`. Nothing for undefined, empty for null, which unsets. */
export function toForm(args: Readonly<Record<string, unknown>>): URLSearchParams {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(args)) add(form, name, value);
  return form;
}

function add(form: URLSearchParams, name: string, value: unknown): void {
  if (value === undefined) return;
  if (value === null) form.append(name, '');
  else if (typeof value === 'object')
    for (const [key, each] of Object.entries(value as Readonly<Record<string, unknown>>)) add(form, `${name}[${key}]`, each);
  else form.append(name, `${value as string | number | boolean}`);
}
