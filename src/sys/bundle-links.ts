// Decides whether the links of a bundle stay inside of it. They are followed as the kernel would follow them, through each other, and
// never on disk: a chain of links that each look harmless can lead out together.

/** Links followed for one path before the kernel gives up (ELOOP). */
const MAX_HOPS = 40;
/** Path components walked for all links together; a bundle that needs more is hostile. */
const MAX_STEPS = 5_000_000;

/** The first link that leads out of the folder (or is too entangled to tell), or null. Keys: paths of the links; values: their targets. */
export function findEscapingLink(links: ReadonlyMap<string, string>): string | null {
  return escapingLinks(links).next().value ?? null;
}

/** All of them. @param depth of the folder that they have to stay in: how many names lead to it */
export function* escapingLinks(links: ReadonlyMap<string, string>, depth = 0): Generator<string, undefined, undefined> {
  const budget = { steps: MAX_STEPS };
  for (const [path, target] of links) if (leadsOut({ path, target, depth }, links, budget)) yield path;
  return undefined;
}

interface Link {
  readonly path: string;
  readonly target: string;
  readonly depth: number;
}

function leadsOut({ path, target, depth }: Link, links: ReadonlyMap<string, string>, budget: { steps: number }): boolean {
  const parents = path.split('/').slice(0, -1);
  const pending = target.split('/').reverse();
  if (target.startsWith('/') || parents.length < depth) return true;
  let hops = 0;
  while (pending.length > 0 && hops <= MAX_HOPS) {
    budget.steps -= 1;
    if (budget.steps < 0) return true;
    const part = pending.pop() ?? '';
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (parents.length <= depth) return true;
      parents.pop();
      continue;
    }
    parents.push(part);
    const next = links.get(parents.join('/'));
    if (next === undefined) continue;
    if (next.startsWith('/')) return true;
    parents.pop();
    hops += 1;
    pending.push(...next.split('/').reverse());
    budget.steps -= next.length;
  }
  return false;
}
