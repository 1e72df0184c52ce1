// A coloured initial; the colour follows from the name.

const HUES = 8;

export function hueOf(name: string): number {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return sum % HUES;
}

export function Avatar({ name }: { name: string }) {
  const [initial = "?"] = name;
  return (
    <span class={`avatar hue-${hueOf(name)}`} aria-hidden="true">
      {initial.toUpperCase()}
    </span>
  );
}
