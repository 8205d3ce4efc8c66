"""A run as one page to look at, and the race of the optimizers as another.

Each page is one self-contained HTML file: nothing is loaded from the network. Python gathers the
numbers; the templates in `templates` are the page's HTML, its style and its JavaScript, one file a
purpose.
"""

from jaxmnist.report.page import run_page as run_page
from jaxmnist.report.race import race_page as race_page
from jaxmnist.report.template import check_out as check_out
