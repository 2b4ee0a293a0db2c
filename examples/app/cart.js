// Every product has a key of its own in the session (`cart:tea`) instead of one object with all of them: the stores
// merge what parallel requests changed key by key, so two tabs that add different things at once both keep theirs.

const MAX_QUANTITY = 99;

const products = new Map(
  [
    { id: "tea", name: "Tea, Earl Grey", cents: 450 },
    { id: "biscuits", name: "Biscuits & shortbread", cents: 280 },
    { id: "marmalade", name: "Grandma's marmalade", cents: 390 },
    { id: "mug", name: "Mug, 0.4 l", cents: 1200 },
  ].map(product => [product.id, product]),
);

const keyOf = id => `cart:${id}`;

/** What is in the cart of a session: the products with their `quantity`. */
function itemsOf(session) {
  return [...products.values()]
    .map(product => ({ ...product, quantity: session[keyOf(product.id)] ?? 0 }))
    .filter(item => item.quantity > 0);
}

/** How many things are in the cart of a session. */
function countOf(session) {
  return itemsOf(session).reduce((count, item) => count + item.quantity, 0);
}

/** Puts `quantity` of a product into the cart of a session, in place of those that are in it. */
function setQuantity(session, id, quantity) {
  if (quantity > 0) session[keyOf(id)] = Math.min(quantity, MAX_QUANTITY);
  else delete session[keyOf(id)];
}

/** Puts one more of a product into the cart of a session. */
function addOne(session, id) {
  setQuantity(session, id, (session[keyOf(id)] ?? 0) + 1);
}

module.exports = { MAX_QUANTITY, addOne, countOf, itemsOf, products, setQuantity };
