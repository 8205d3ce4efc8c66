"""Data sets of 28x28 grey digits and their kin, each as one `Dataset` (tutorial rows D4 to D6).

MNIST itself is in the package and needs no network. Other sets come from TensorFlow Datasets
(TFDS, read and prepared without TensorFlow), from a folder of IDX files, or from a Keras `.npz`.
`load_arrays` reads data of any other shape, for a task of one's own, from an `.npz`, a folder of
images or a prepared set. What does not fit in memory is opened by `open_stream` or `open_arrays`
instead, or given as a `StoredSet`.
"""

from jaxmnist.data.arrays import load_arrays as load_arrays
from jaxmnist.data.batches import normalize as normalize
from jaxmnist.data.catalogue import Available as Available
from jaxmnist.data.catalogue import available as available
from jaxmnist.data.catalogue import prepared_directory as prepared_directory
from jaxmnist.data.dataset import Arrays as Arrays
from jaxmnist.data.dataset import Dataset as Dataset
from jaxmnist.data.load import load_dataset as load_dataset
from jaxmnist.data.naming import class_names as class_names
from jaxmnist.data.preparation import prepare as prepare
from jaxmnist.data.stored import StoredPart as StoredPart
from jaxmnist.data.stored import StoredSet as StoredSet
from jaxmnist.data.stored import stored_arrays as stored_arrays
from jaxmnist.data.stream import open_arrays as open_arrays
from jaxmnist.data.stream import open_stream as open_stream
from jaxmnist.data.tfds import PreparedSet as PreparedSet
