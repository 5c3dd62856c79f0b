"""The goods of the shop that the tests of the web look at: picture → name, category, price."""

GOODS = {
    "oak-chair": ("Oak chair", "Living room", "89.00"),
    "white-chair": ("White chair", "Kitchen", "49.90"),
    "technical-table": ("Drawing table", "Office", "199"),
    "coffee-cup": ("Coffee cup", "Kitchen", "7.50"),
    "beer-glass": ("Beer glass <script>alert('name')</script>", "Kitchen", "6"),
    "yogurt-bottle": ('قارورة 🥛 & "yogurt"', "Kitchen", "5.20"),
    "bootie": ("Bootie", "Hall", "35"),
    "slippers": ("Slippers", "Hall", "15"),
    "box": ("Box", "Hall", "12"),
    "teddy-bear": ("Teddy bear", "Nursery", "25"),
    "television": ("Television", "Living room", "399"),
}
IDS = {"beer-glass": 'a/b/../<b>"glass"&?#%2F', "yogurt-bottle": "لبن-7 🥛"}
"""Products whose id is not the name of their picture."""
