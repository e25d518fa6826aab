"""Brain tissue segmentation with the same network and the same loss in Gluon and in Caffe."""
