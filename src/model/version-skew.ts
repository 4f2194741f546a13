// How far versions of this program may be from each other: machines are brought to a new one by one, so neighbours have to work together.

const VERSION = /^(\d{1,6})\.(\d{1,6})\.\d{1,6}(?:-[0-9A-Za-z.-]{1,100})?$/u;

/** Whether they may run in one platform: the same major version, and minor ones that are next to each other. Unknown: true. */
export function worksWith(one: string, other: string): boolean {
  const [a, b] = [VERSION.exec(one), VERSION.exec(other)];
  if (a === null || b === null) return true;
  return a[1] === b[1] && Math.abs(Number(a[2]) - Number(b[2])) <= 1;
}
