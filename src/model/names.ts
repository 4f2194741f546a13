// Names of things and the hosts that follow from them (product.md §2). A name is checked here and nowhere else.

/** The Environment that an App has without asking; explicit hosts of the manifest are its alone. */
export const PRODUCTION = 'production';

const NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/u;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/u;
const SECRET = /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/u;
const HOST_LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/u;

export const NAME_RULE = 'a lower-case DNS label without --, at most 30 characters';

/** Whether this may be the name of an App, Environment, Entrypoint, Runtime or Volume: a lower-case DNS label without `--`. */
export function isName(text: string): boolean {
  return text.length <= 30 && NAME.test(text) && !text.includes('--');
}

/** A name made from any text (a folder's name), or null where nothing is left of it. */
export function toName(text: string): string | null {
  const name = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/gu, '-')
    .slice(0, 30)
    .replace(/^-+|-+$/gu, '');
  return isName(name) ? name : null;
}

/** Whether this may be the name of a variable. `__proto__` may not: plain objects hold variables. */
export function isVariableName(text: string): boolean {
  return text.length <= 128 && VARIABLE.test(text) && text !== '__proto__';
}

/** Whether Libra itself sets this variable, so that a manifest may not: PORT, HOST and LIBRA_*. */
export function isReservedVariable(text: string): boolean {
  return text === 'PORT' || text === 'HOST' || text.startsWith('LIBRA_');
}

export function isSecretName(text: string): boolean {
  return text.length <= 63 && SECRET.test(text);
}

/** A lower-case host name; `*.` in front is a wildcard for one label or more, `*` alone is every host. IPv4 addresses pass, as hosts of Routes. */
export function isRouteHost(text: string): boolean {
  return text === '*' || isHostName(text.startsWith('*.') ? text.slice(2) : text);
}

/** A lower-case host name, or an IPv4 address. */
export function isHostName(name: string): boolean {
  return name.length <= 253 && name.split('.').every((label) => label.length <= 63 && HOST_LABEL.test(label));
}

/** `<app>.<domain>` for production, `<app>--<environment>.<domain>` for every other Environment. */
export function defaultHost(app: string, environment: string, domain: string): string {
  return environment === PRODUCTION ? `${app}.${domain}` : `${app}--${environment}.${domain}`;
}

/** Where requests of one developer's session come in, beside those of everybody. */
export function personalHost(key: string, app: string, environment: string, domain: string): string {
  return `${key}--${app}--${environment}.${domain}`;
}

/** The host under which the API and the console are reached through the Edge; no App may have it. */
export function platformHost(domain: string): string {
  return `libra.${domain}`;
}
