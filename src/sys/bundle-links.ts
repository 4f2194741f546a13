// Decides whether the links of a bundle stay inside of it. They are followed as the kernel would follow them, through each other, and
// never on disk: a chain of links that each look harmless can lead out together.

/** Links followed for one path before the kernel gives up (ELOOP). */
const MAX_HOPS = 40;
/** Path components walked for all links together; a bundle that needs more is hostile. */
const MAX_STEPS = 5_000_000;

/** The first link that leads out of the folder (or is too entangled to tell), or null. Keys: paths of the links; values: their targets. */
export function findEscapingLink(links: ReadonlyMap<string, string>): string | null {
  let steps = 0;
  for (const [path, target] of links) {
    const parents = path.split('/').slice(0, -1);
    const pending = target.split('/').reverse();
    if (target.startsWith('/')) return path;
    let hops = 0;
    while (pending.length > 0 && hops <= MAX_HOPS) {
      steps += 1;
      if (steps > MAX_STEPS) return path;
      const part = pending.pop() ?? '';
      if (part === '' || part === '.') continue;
      if (part === '..') {
        if (parents.pop() === undefined) return path;
        continue;
      }
      parents.push(part);
      const next = links.get(parents.join('/'));
      if (next === undefined) continue;
      if (next.startsWith('/')) return path;
      parents.pop();
      hops += 1;
      pending.push(...next.split('/').reverse());
      steps += next.length;
    }
  }
  return null;
}
