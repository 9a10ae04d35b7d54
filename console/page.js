const form = document.querySelector('form'), rows = [...document.querySelectorAll('[data-words]')];
function choose() {
  const text = form.text.value.toLowerCase(), balancer = form.balancer.value, failed = form.failed.checked;
  let shown = 0;
  for (const row of rows) {
    const fits = (!balancer || JSON.parse(row.dataset.balancers).includes(balancer))
      && (row.tagName !== 'TR' || !failed || row.classList.contains('failed'))
      && (!text || row.dataset.words.includes(text));
    row.hidden = !fits;
    if (fits && row.tagName === 'TR') shown += 1;
  }
  document.querySelector('output').textContent = shown + ' commands';
}
const asked = new URLSearchParams(location.hash.slice(1));
form.text.value = asked.get('text') || '';
form.balancer.value = asked.get('balancer') || '';
form.failed.checked = asked.has('failed');
form.addEventListener('input', choose);
form.addEventListener('submit', event => event.preventDefault());
choose();
